"""Whose an unfinished blob or a lease is: a process of a machine, told from a later one with the same number by the
time it was started.
"""

from __future__ import annotations

import os
from functools import cache


def this_process(*, among_nodes: bool = False) -> str:
    """`machine:pid:starttime` of this process, as `alive` understands it.

    `among_nodes`: others have the store too, and a name is not enough to tell their machines from ours: two may have
    the same one.
    """
    pid, machine = os.getpid(), os.uname().nodename
    return f"{_among_nodes(machine) if among_nodes else machine}:{pid}:{_started(pid)}"


def alive(owner: str) -> bool:
    """Whether a process still runs, for `blobs.free_unfinished` and `leases.acquire`. True for other machines': who
    knows.

    `owner` may have a "/" and more behind it, which tells its blobs apart. False for what cannot be an owner.
    """
    machine, _, process = owner.partition("/")[0].partition(":")
    pid, _, started = process.partition(":")
    if not machine or not pid.isdigit() or not started:
        return False
    here = os.uname().nodename
    if machine not in (here, _among_nodes(here)):
        return True
    return _started(int(pid)) == started


@cache
def _among_nodes(machine: str) -> str:
    """With what tells processes of one number apart: the start of the kernel, and the namespace of process numbers
    (containers of one machine may have the same name)."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip().partition("-")[0]
        return f"{machine}+{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # nothing tells them apart, so none is ever taken for dead
        return f"{machine}+{os.urandom(8).hex()}"


def _started(pid: int) -> str:
    """The start time in clock ticks since boot (field 22 of proc(5)'s stat); "" when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
    except OSError:
        return ""
    return fields[19].decode()
