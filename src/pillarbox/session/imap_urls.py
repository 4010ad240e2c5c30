"""What the URL of a message stands for: its octets, read in pieces as they are wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pillarbox.imap.url import BadUrl, MessageUrl, parse
from pillarbox.session.imap_answers import Refuse, shown
from pillarbox.session.imap_sections import Cut, Sections
from pillarbox.session.imap_stream import pieces_of
from pillarbox.store import Tx, blobs, messages, sharing
from pillarbox.store.records import Rendered

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def octets_of(session: ImapSession, text: str) -> AsyncIterator[bytes]:
    """The octets of a URL for CATENATE: of the client's own mailboxes. Raises Refuse with BADURL (RFC 4469)."""
    try:
        url = parse(text, session.selected.name if session.selected is not None else "")
        if url.access:
            raise BadUrl("URLs with an authorization are for URLFETCH")
        if url.user and url.user.lower() != session.username.lower():
            raise BadUrl("this is a mailbox of somebody else")
        if url.host and url.host != session.core.hostname.lower():
            raise BadUrl("this is another server")
        row = await session.store.read(find_message, session.user_id, url)
        if row is None:
            raise BadUrl("there is no such message")
        async for piece in content(session, row, url):
            yield piece
    except BadUrl as error:
        quoted = shown(text).replace("\\", "").replace('"', "").replace("]", "%5D")
        raise Refuse(f"No part of a message: {error}", f'BADURL "{quoted}"') from None


async def content(
    session: ImapSession, row: Rendered, url: MessageUrl, *, decoded: bool = False
) -> AsyncIterator[bytes]:
    """The octets of the section of a message, in pieces; `decoded`: of a part without its transfer encoding.

    Raises BadUrl when there is no such section, Refuse when its transfer encoding is not known.
    """
    section = url.section
    if decoded and section.part and not section.text:
        section = replace(section, kind="BINARY")
    cut = Sections(row).cut(section)
    if not isinstance(cut, Cut):
        raise BadUrl("the message has no such part")
    if cut.fields:
        octets = await session.store.scan(blobs.read_slice, row.blob_id, cut.start, cut.length)
        yield cut.content(octets)
        return
    async for piece in pieces_of(session, row.blob_id, cut):
        yield piece
        session.active()


def find_message(tx: Tx, user_id: int, url: MessageUrl) -> Rendered | None:
    """The message of a URL among an account's mailboxes."""
    seen = sharing.find(tx, user_id, url.mailbox)
    if seen is None or not seen.may("r"):
        return None
    box = seen.box
    if url.uidvalidity not in (None, box.uidvalidity):
        return None
    found = messages.by_uid(tx, box.id, url.uid)
    rows = messages.rendered(tx, [found]) if found is not None else []
    return rows[0] if rows else None
