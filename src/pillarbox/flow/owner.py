"""Whose an unfinished blob or a lease is: a process of a machine, told from a later one with the same number by the
time it was started.
"""

from __future__ import annotations

import os


def this_process() -> str:
    """`machine:pid:starttime` of this process, as `alive` understands it."""
    pid = os.getpid()
    return f"{os.uname().nodename}:{pid}:{_started(pid)}"


def alive(owner: str) -> bool:
    """Whether a process still runs, for `blobs.free_unfinished` and `leases.acquire`. True for other machines': who
    knows.

    `owner` may have a "/" and more behind it, which tells its blobs apart. False for what cannot be an owner.
    """
    machine, _, process = owner.partition("/")[0].partition(":")
    pid, _, started = process.partition(":")
    if not machine or not pid.isdigit() or not started:
        return False
    if machine != os.uname().nodename:
        return True
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """The start time in clock ticks since boot (field 22 of proc(5)'s stat); "" when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
    except OSError:
        return ""
    return fields[19].decode()
