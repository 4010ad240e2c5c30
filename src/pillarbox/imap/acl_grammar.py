"""The commands of ACL (RFC 4314), and the responses to them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pillarbox.imap import responses
from pillarbox.imap.commands import Acl
from pillarbox.imap.syntax import BadSyntax, Cursor

_RIGHTS = re.compile(r"([+-]?)([lrswipkxtenacd]*)\Z")


def mailbox(cursor: Cursor) -> Acl:
    """GETACL, MYRIGHTS."""
    args = Acl(cursor.mailbox())
    cursor.end()
    return args


def identifier(cursor: Cursor) -> Acl:
    """DELETEACL, LISTRIGHTS."""
    args = Acl(cursor.mailbox())
    cursor.space()
    args.identifier = _identifier(cursor)
    cursor.end()
    return args


def set_(cursor: Cursor) -> Acl:
    """SETACL: rights in the place of those that were, or with + or - added or taken."""
    args = Acl(cursor.mailbox())
    cursor.space()
    args.identifier = _identifier(cursor)
    cursor.space()
    found = _RIGHTS.match(cursor.decoded("rights"))
    if found is None:
        raise BadSyntax("rights are of lrswipkxtenacd, RFC 4314 section 2.1")
    args.operation, args.rights = found[1] or "=", found[2]
    cursor.end()
    return args


def _identifier(cursor: Cursor) -> str:
    name = cursor.decoded("an identifier")
    if not name.removeprefix("-"):
        raise BadSyntax("an identifier is a username or anyone")
    return name


def virtual(rights: str) -> str:
    """Rights as they are shown: with c and d, for clients of RFC 2086 (section 2.1.1)."""
    shown = rights.removesuffix("a")
    shown += "c" if set(rights) & set("kx") else ""
    shown += "d" if set(rights) & set("te") else ""
    return shown + rights[len(rights.removesuffix("a")) :]


def acl(name: str, pairs: Iterable[tuple[str, str]], utf8: bool = False) -> bytes:
    """The ACL response: identifiers and their rights."""
    words = [b"ACL", responses.mailbox(name, utf8)]
    for who, rights in pairs:
        words += [responses.astring(who.encode(), utf8), virtual(rights).encode() or b'""']
    return b" ".join(words)


def my_rights(name: str, rights: str, utf8: bool = False) -> bytes:
    """The MYRIGHTS response."""
    return b"MYRIGHTS %b %b" % (responses.mailbox(name, utf8), virtual(rights).encode() or b'""')


def list_rights(name: str, who: str, required: str, optional: Iterable[str], utf8: bool = False) -> bytes:
    """The LISTRIGHTS response: what an identifier always has, and what can be given to it, each by itself."""
    words = [b"LISTRIGHTS", responses.mailbox(name, utf8), responses.astring(who.encode(), utf8)]
    words += [virtual(required).encode() or b'""', *(one.encode() for one in optional)]
    return b" ".join(words)
