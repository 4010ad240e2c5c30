"""IMAP URLs of messages and their parts (RFC 5092), with the authorization of URLAUTH (RFC 4467).

/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.2
imap://ada@mail.example.com/INBOX/;UID=20;EXPIRE=2026-01-01T00:00:00Z;URLAUTH=user+bob:INTERNAL:6d0c...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

from pillarbox.imap.fetch import Section
from pillarbox.imap.fetch_grammar import section_of
from pillarbox.imap.sequence import MAX_NUMBER
from pillarbox.imap.syntax import MAX_NUMBER64, BadSyntax

MAX_URL = 4096  # octets

_URL = re.compile(
    r"(?:imap://(?:(?P<user>[^@/;]+)(?:;AUTH=[^@/;]*)?@)?(?P<host>[^/@;]+))?"
    r"/(?P<mailbox>[^;]+?)(?:;UIDVALIDITY=(?P<uidvalidity>[0-9]{1,10}))?/?;UID=(?P<uid>[0-9]{1,10})"
    r"(?:/?;SECTION=(?P<section>[^;/]+))?"
    r"(?:/?;PARTIAL=(?P<start>[0-9]{1,18})(?:\.(?P<length>[0-9]{1,18}))?)?"
    r"(?:;EXPIRE=(?P<expire>[^;]+))?"
    r"(?:;URLAUTH=(?P<access>[^:;]+)(?::(?P<mechanism>[A-Za-z0-9.-]+):(?P<token>[0-9A-Fa-f]{32,128}))?)?\Z",
    re.IGNORECASE | re.ASCII,
)
_ACCESS = re.compile(r"(?:submit\+.+|user\+.+|authuser|anonymous)\Z", re.IGNORECASE)


class BadUrl(ValueError):
    """It is no URL of a message that this server can follow."""


@dataclass(slots=True, frozen=True)
class MessageUrl:
    """`user` and `host` are "" where the URL is relative. `expire` is epoch seconds. `access` is e.g. "user+bob".

    `rump` is the URL up to and with the access: what a token is computed of (RFC 4467 section 2.4).
    """

    user: str
    host: str
    mailbox: str
    uidvalidity: int | None
    uid: int
    section: Section
    expire: int | None
    access: str
    mechanism: str
    token: str
    rump: str


def parse(text: str, selected: str = "") -> MessageUrl:
    """The URL in its parts; one like ;UID=20 is about a message of the `selected` mailbox. Raises BadUrl."""
    if selected and text.startswith(";"):  # the base of relative URLs, RFC 4469 section 3
        text = f"/{quote(selected)}/{text}"
    found = _URL.match(text) if len(text) <= MAX_URL else None
    if found is None:
        raise BadUrl("this is no URL of a message, RFC 5092")
    uid, uidvalidity = int(found["uid"]), found["uidvalidity"]
    if not 0 < uid <= MAX_NUMBER:
        raise BadUrl("this is no UID")
    access = _decoded(found["access"])
    if access and not _ACCESS.match(access):
        raise BadUrl("the access of a URL is user+NAME, submit+NAME, authuser or anonymous")
    rump = text if not found["mechanism"] else text[: found.end("access")]
    name = _decoded(found["mailbox"])
    return MessageUrl(
        _decoded(found["user"]),
        (found["host"] or "").lower(),
        "INBOX" if name.upper() == "INBOX" else name,
        int(uidvalidity) if uidvalidity else None,
        uid,
        _section(_decoded(found["section"]), found["start"], found["length"]),
        _moment(found["expire"]),
        access,
        (found["mechanism"] or "").upper(),
        (found["token"] or "").lower(),
        rump,
    )


def _decoded(text: str | None) -> str:
    try:
        return unquote(text or "", errors="strict")
    except UnicodeDecodeError:
        raise BadUrl("a URL is UTF-8") from None


def _section(text: str, start: str | None, length: str | None) -> Section:
    partial = None
    if start is not None:
        partial = (int(start), min(int(length), MAX_NUMBER64) if length else MAX_NUMBER64)
        if not partial[1]:
            raise BadUrl("a part has at least one octet")
    try:
        return section_of(text.encode(), partial)
    except BadSyntax as error:
        raise BadUrl(str(error)) from None


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            raise BadUrl("EXPIRE is a moment with its zone, RFC 3339")
        return int(moment.timestamp())
    except (ValueError, OverflowError):
        raise BadUrl("EXPIRE is a moment, RFC 3339") from None
