"""GENURLAUTH, RESETKEY and URLFETCH (RFC 4467 section 9)."""

from __future__ import annotations

from pillarbox.imap.commands import Mailbox, UrlAuth
from pillarbox.imap.syntax import BadSyntax, Cursor

MAX_URLS = 100  # of one command


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
    urls: list[str] = []
    while not urls or cursor.skip(b" "):
        urls.append(_url(cursor, len(urls)))
    cursor.end()
    return UrlAuth(tuple(urls))


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
