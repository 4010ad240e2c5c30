"""Which users of this machine may submit mail through its `sendmail` (SMTP_SENDMAIL_USERS)."""

from __future__ import annotations

import grp
import pwd
import time
from functools import lru_cache

REMEMBERED = 60  # seconds that names and groups of the machine are


def may_submit(allowed: str, uid: int) -> bool:
    """Whether `*` or a list of names and numbers, of which `@group` is a group, means this user."""
    words = tuple(allowed.replace(",", " ").split())
    return "*" in words or uid in _uids(words, int(time.monotonic()) // REMEMBERED)


@lru_cache(maxsize=2)
def _uids(words: tuple[str, ...], _: int) -> frozenset[int]:
    found: set[int] = set()
    for word in words:
        try:
            if word.isdecimal():
                found.add(int(word))
            elif word.startswith("@"):
                group = grp.getgrnam(word[1:])
                found |= {pwd.getpwnam(name).pw_uid for name in group.gr_mem}
                found |= {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == group.gr_gid}
            else:
                found.add(pwd.getpwnam(word).pw_uid)
        except KeyError:
            continue  # nobody of this machine
    return frozenset(found)
