"""GENURLAUTH, RESETKEY and URLFETCH (RFC 4467 section 9, RFC 5524 section 5)."""

from __future__ import annotations

from pillarbox.imap.commands import Mailbox, UrlAuth
from pillarbox.imap.syntax import BadSyntax, Cursor

MAX_URLS = 100  # of one command
PARAMETERS = frozenset({"BODY", "BINARY", "BODYPARTSTRUCTURE"})


def generate(cursor: Cursor) -> UrlAuth:
    """Pairs of a URL and a mechanism."""
    urls: list[str] = []
    while not urls or cursor.skip(b" "):
        urls.append(_url(cursor, len(urls)))
        cursor.space()
        _mechanism(cursor)
    cursor.end()
    return UrlAuth(tuple(urls))


def fetch(cursor: Cursor) -> UrlAuth:
    """URLs, each by itself or in parentheses with what is wanted of it."""
    urls: list[str] = []
    wanted: list[frozenset[str] | None] = []
    while not urls or cursor.skip(b" "):
        extended = cursor.skip(b"(")
        urls.append(_url(cursor, len(urls)))
        wanted.append(_parameters(cursor) if extended else None)
    cursor.end()
    return UrlAuth(tuple(urls), tuple(wanted) if any(one is not None for one in wanted) else ())


def _parameters(cursor: Cursor) -> frozenset[str]:
    found: list[str] = []
    while not cursor.skip(b")"):
        cursor.space()
        name = cursor.word("BODY, BINARY or BODYPARTSTRUCTURE")
        if name not in PARAMETERS:
            raise BadSyntax(f"there is no URLFETCH parameter {name[:40]}")
        if name in found:
            raise BadSyntax("a parameter is given once, RFC 5524 section 3.1")
        found.append(name)
    if {"BODY", "BINARY"} <= set(found):
        raise BadSyntax("BODY and BINARY exclude each other, RFC 5524 section 3.1")
    return frozenset(found)


def reset(cursor: Cursor) -> Mailbox | None:
    """RESETKEY alone, or with a mailbox and mechanisms."""
    if cursor.done:
        return None
    args = Mailbox(cursor.mailbox())
    while cursor.skip(b" "):
        _mechanism(cursor)
    cursor.end()
    return args


def _url(cursor: Cursor, so_far: int) -> str:
    if so_far >= MAX_URLS:
        raise BadSyntax(f"more than {MAX_URLS} URLs")
    return cursor.decoded("a URL")


def _mechanism(cursor: Cursor) -> None:
    if cursor.word("a mechanism") != "INTERNAL":
        raise BadSyntax("the one mechanism is INTERNAL")
