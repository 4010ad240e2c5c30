"""GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208 section 4.1), and the responses to them."""

from __future__ import annotations

from collections.abc import Iterable

from pillarbox.imap import responses
from pillarbox.imap.commands import Mailbox, Quota
from pillarbox.imap.syntax import BadSyntax, Cursor

MAX_RESOURCES = 20


def get(cursor: Cursor) -> Quota:
    """GETQUOTA: the name of a quota root."""
    root = cursor.decoded("the name of a quota root")
    cursor.end()
    return Quota(root)


def root_of(cursor: Cursor) -> Mailbox:
    """GETQUOTAROOT: the name of a mailbox."""
    args = Mailbox(cursor.mailbox())
    cursor.end()
    return args


def set_(cursor: Cursor) -> Quota:
    """SETQUOTA: a quota root and all of its limits."""
    root = cursor.decoded("the name of a quota root")
    cursor.space()

    def limit(cursor: Cursor) -> tuple[str, int]:
        name = cursor.word("a resource")
        cursor.space()
        return name, cursor.number(name="a limit")

    limits = cursor.parenthesized(limit, MAX_RESOURCES, "resources")
    cursor.end()
    if len(dict(limits)) < len(limits):
        raise BadSyntax("a resource is given twice")
    return Quota(root, tuple(limits))


def quota(root: str, resources: Iterable[tuple[str, int, int]], utf8: bool = False) -> bytes:
    """The QUOTA response: name of the resource, its usage and its limit."""
    listed = " ".join(f"{name} {used} {limit}" for name, used, limit in resources)
    return b"QUOTA %b (%b)" % (responses.astring(root.encode(), utf8), listed.encode())


def quota_root(mailbox: str, roots: Iterable[str], utf8: bool = False) -> bytes:
    """The QUOTAROOT response."""
    names = (responses.astring(root.encode(), utf8) for root in roots)
    return b" ".join((b"QUOTAROOT", responses.mailbox(mailbox, utf8), *names))
