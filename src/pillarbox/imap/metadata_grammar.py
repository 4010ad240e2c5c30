"""GETMETADATA and SETMETADATA (RFC 5464), the METADATA option of LIST (RFC 9590), and the METADATA response."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pillarbox.imap import responses
from pillarbox.imap.commands import GetMetadata, SetMetadata
from pillarbox.imap.syntax import BadSyntax, Cursor

MAX_ENTRIES = 1000
MAX_NAME = 1000  # octets

_NAME = re.compile(r"/(?:private|shared)(?:/[\x20-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+)+\Z")  # no * and % (section 3.2)
_ROOTS = frozenset({"/private", "/shared"})  # with DEPTH all that is below
_DEPTHS = {"0": 0, "1": 1, "INFINITY": -1}


def get(cursor: Cursor) -> GetMetadata:
    """GETMETADATA. The options stand before the mailbox (the grammar) or after it (the examples of section 4.2)."""
    args = GetMetadata("", ())
    if cursor.peek(b"("):
        _options(cursor, args)
        cursor.space()
    args.mailbox = cursor.mailbox()
    cursor.space()
    if cursor.peek(b"(") and not (cursor.peek(b"(/") or cursor.peek(b'("') or cursor.peek(b"({")):
        _options(cursor, args)
        cursor.space()
    args.entries = entries(cursor)
    cursor.end()
    return args


def _options(cursor: Cursor, args: GetMetadata) -> None:
    def option(cursor: Cursor) -> None:
        name = cursor.word("MAXSIZE or DEPTH")
        cursor.space()
        if name == "MAXSIZE":
            args.max_size = cursor.number(0xFFFFFFFF, "MAXSIZE")
        elif name == "DEPTH":
            depth = _DEPTHS.get(cursor.word("0, 1 or infinity"))
            if depth is None:
                raise BadSyntax("DEPTH is 0, 1 or infinity")
            args.depth = depth
        else:
            raise BadSyntax(f"there is no GETMETADATA option {name[:40]}")

    cursor.parenthesized(option, 2, "options")


def entries(cursor: Cursor) -> tuple[str, ...]:
    """One entry or several in parentheses, without repeats. They are only read, so a whole side may be named too."""
    if not cursor.peek(b"("):
        return (_entry(cursor, _ROOTS),)
    found = cursor.parenthesized(lambda cursor: _entry(cursor, _ROOTS), MAX_ENTRIES, "entries")
    if not found:
        raise BadSyntax("an entry is missing")
    return tuple(dict.fromkeys(found))


def set_(cursor: Cursor) -> SetMetadata:
    """SETMETADATA: entries with their values; NIL removes one."""
    mailbox = cursor.mailbox()
    cursor.space()

    def pair(cursor: Cursor) -> tuple[str, bytes | None]:
        entry = _entry(cursor)
        cursor.space()
        return entry, cursor.value("a value or NIL")

    pairs = cursor.parenthesized(pair, MAX_ENTRIES, "entries")
    cursor.end()
    if not pairs:
        raise BadSyntax("an entry is missing")
    return SetMetadata(mailbox, tuple(pairs))


def _entry(cursor: Cursor, roots: frozenset[str] = frozenset()) -> str:
    name = cursor.astring("an entry like /private/comment")
    text = name.decode("ascii", "replace").lower()
    if text not in roots and (len(name) > MAX_NAME or _NAME.match(text) is None):
        raise BadSyntax("an entry begins with /private/ or /shared/, has no empty part, and none of * % or 8-bit")
    return text


def metadata(mailbox: str, values: Iterable[tuple[str, bytes | None]], utf8: bool = False) -> bytes:
    """The METADATA response with values; a None is NIL."""
    pairs = (
        responses.astring(entry.encode()) + b" " + (responses.nstring(value) if _plain(value) else _octets(value))
        for entry, value in values
    )
    return b"METADATA %b (%b)" % (responses.mailbox(mailbox, utf8) if mailbox else b'""', b" ".join(pairs))


def changed(mailbox: str, entries: Iterable[str], utf8: bool = False) -> bytes:
    """The METADATA response that only names entries that were changed (section 4.4.2)."""
    names = b" ".join(responses.astring(entry.encode()) for entry in entries)
    return b"METADATA %b %b" % (responses.mailbox(mailbox, utf8) if mailbox else b'""', names)


def _plain(value: bytes | None) -> bool:
    return value is None or b"\0" not in value


def _octets(value: bytes | None) -> bytes:
    return responses.literal8(value or b"")
