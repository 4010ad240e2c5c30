"""URLAUTH (RFC 4467): URLs that let somebody else read one message or part of it, until their key is reset. With
RFC 5524 without its transfer encoding, and with its structure.

A token is an HMAC of the URL by the key of its mailbox; the key is made when the first URL is, kept by the store, and
never shown. The one mechanism is INTERNAL.
"""

from __future__ import annotations

import hmac
from itertools import zip_longest
from typing import TYPE_CHECKING
from urllib.parse import quote

from pillarbox.imap.body_structure import decoded_structure, part_structure
from pillarbox.imap.commands import Mailbox, UrlAuth
from pillarbox.imap.events import Command
from pillarbox.imap.responses import literal8, nstring, string
from pillarbox.imap.url import BadUrl, MessageUrl, parse
from pillarbox.session.imap_answers import Answer, Refuse, bad, no_mailbox
from pillarbox.session.imap_sections import without_nul
from pillarbox.session.imap_urls import content, find_message
from pillarbox.store import Tx, directory, mailboxes, secrets
from pillarbox.store.records import Mailbox as Box
from pillarbox.store.records import Rendered

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

VERSION = "01"  # of how tokens are made


async def generate(session: ImapSession, command: Command) -> Answer:
    """Answer GENURLAUTH: each URL with its token. Whether the message is there is not looked at."""
    args = command.args
    assert isinstance(args, UrlAuth)
    made: list[bytes] = []
    for text in args.urls:
        try:
            url = parse(text)
        except BadUrl as error:
            raise bad(f"No URL to authorize: {error}") from None
        if not url.access or url.token:
            raise bad("A URL to authorize ends in ;URLAUTH= and who may use it")
        if url.user.lower() != session.username.lower() or url.host != session.core.hostname.lower():
            user = quote(session.username, safe="")
            raise bad(f"A URL to authorize begins with imap://{user}@{session.core.hostname}/")
        key = await session.store.write(_key_for, session.user_id, url.mailbox)
        if key is None:
            raise no_mailbox(url.mailbox)
        made.append(string(f"{url.rump}:INTERNAL:{_token(key, url.rump)}".encode(), session.utf8))
    session.core.untagged(b"GENURLAUTH " + b" ".join(made))
    return Answer("GENURLAUTH completed")


async def reset(session: ImapSession, command: Command) -> Answer:
    """Answer RESETKEY: the URLs of a mailbox, or of all of them, are worth nothing from here on."""
    name = command.args.mailbox if isinstance(command.args, Mailbox) else None
    if not await session.store.write(_forget, session.user_id, name):
        raise no_mailbox(name or "")
    return Answer("RESETKEY completed", "URLMECH INTERNAL" if name is not None else None)


async def fetch(session: ImapSession, command: Command) -> Answer:
    """Answer URLFETCH: the octets of each URL, NIL for every one that is not good, whatever the reason (section 7)."""
    args = command.args
    assert isinstance(args, UrlAuth)
    for text, wanted in zip_longest(args.urls, args.wanted):
        quoted = string(text.encode("utf-8", "replace"), session.utf8)
        session.core.untagged(b"URLFETCH ", quoted, b" ", *await _told(session, text, wanted))
        await session.drained()
    return Answer("URLFETCH completed")


async def _told(session: ImapSession, text: str, wanted: frozenset[str] | None) -> list[bytes]:
    """What follows the URL: its octets, or with parameters an element for each of these (RFC 5524 section 3.2)."""
    try:
        url = parse(text)
        row = await session.store.read(_authorized, url) if _may(session, url) else None
        if row is None:
            return [b"NIL"]
        if wanted is None:
            return [nstring(without_nul(await _octets(session, row, url)))]
        return await _elements(session, row, url, wanted or frozenset({"BODY"}))
    except BadUrl:
        return [b"NIL"]


async def _elements(session: ImapSession, row: Rendered, url: MessageUrl, wanted: frozenset[str]) -> list[bytes]:
    found: list[bytes] = []
    octets: bytes | None = None
    if "BINARY" in wanted:
        try:
            octets = await _octets(session, row, url, decoded=True)
        except Refuse as refused:
            if refused.answer.code != "UNKNOWN-CTE":
                raise
        found = [b"(BINARY ", b"NIL" if octets is None else literal8(octets), b")"]
    elif "BODY" in wanted:
        found = [b"(BODY ", nstring(without_nul(await _octets(session, row, url))), b")"]
    if "BODYPARTSTRUCTURE" in wanted:
        section = url.section
        structure = part_structure(row.bodystructure, section.part) if not section.text else None
        if structure is not None and octets is not None and section.part and section.partial is None:
            structure = decoded_structure(structure, octets)
        found = [b"(BODYPARTSTRUCTURE ", structure or b"NIL", b")", b" " * bool(found), *found]
    return found


async def _octets(session: ImapSession, row: Rendered, url: MessageUrl, *, decoded: bool = False) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in content(session, row, url, decoded=decoded):
        size += len(piece)
        if size > session.core.limits.append:
            raise Refuse("The part is too large for one answer: ask with PARTIAL", "LIMIT")
        pieces.append(piece)
    return b"".join(pieces)


def _may(session: ImapSession, url: MessageUrl) -> bool:
    """Whether this session is one that the URL is for (RFC 4467 section 3)."""
    if not url.token or url.mechanism != "INTERNAL" or url.host != session.core.hostname.lower():
        return False
    if url.expire is not None and url.expire <= session.node.clock():
        return False
    kind, _, name = url.access.partition("+")
    match kind.lower():
        case "anonymous" | "authuser":
            return True
        case "user":
            return name.lower() == session.username.lower()
    return False  # submit+: for submission servers, and none has such a right here


def _authorized(tx: Tx, url: MessageUrl) -> Rendered | None:
    owner = directory.user(tx, url.user)
    box = mailboxes.find(tx, owner.id, url.mailbox) if owner is not None and owner.enabled else None
    key = secrets.secret(tx, _name(box)) if box is not None else None
    if owner is None or key is None or not hmac.compare_digest(_token(key, url.rump), url.token):
        return None
    return find_message(tx, owner.id, url)


def _name(box: Box) -> str:
    return f"urlauth/{box.id}/{box.uidvalidity}"


def _token(key: bytes, rump: str) -> str:
    return VERSION + hmac.digest(key, rump.encode("utf-8", "replace"), "sha256").hex()


def _key_for(tx: Tx, user_id: int, name: str) -> bytes | None:
    box = mailboxes.find(tx, user_id, name)
    return None if box is None else secrets.make_secret(tx, _name(box))


def _forget(tx: Tx, user_id: int, name: str | None) -> bool:
    if name is None:
        boxes = mailboxes.list_mailboxes(tx, user_id)
    else:
        found = mailboxes.find(tx, user_id, name)
        boxes = [] if found is None else [found]
    for box in boxes:
        secrets.forget_secret(tx, _name(box))
    return bool(boxes)
