"""Which user the workers run as when the server was started as root, and becoming that user for good."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass


class NoSuchUser(Exception):
    """The configured account does not exist on this machine."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """An account of the machine, looked up while we still may read everything."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def owner_of(user: RunAs | None) -> tuple[int, int] | None:
    """Uid and gid for what belongs to the workers; None: it stays ours."""
    return (user.uid, user.gid) if user else None


def account(name: str) -> RunAs:
    """The account and all of its groups. Raises NoSuchUser."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NoSuchUser(name) from None
    groups = {group.gr_gid for group in grp.getgrall() if name in group.gr_mem}
    return RunAs(name, entry.pw_uid, entry.pw_gid, tuple(sorted(groups | {entry.pw_gid})))


def drop(user: RunAs | None) -> None:
    """Become that user irrevocably; None changes nothing. Raises OSError."""
    if user is None:
        return
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
