"""What others have done to the selected mailbox: learnt from the store, told to the client."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from pillarbox.store import mailboxes, messages, rights
from pillarbox.store.errors import Busy, NotFound, StoreError

from . import imap_annotations, imap_contexts, imap_notify
from .imap_selected import Selected

if TYPE_CHECKING:
    from .imap import ImapSession

log = structlog.get_logger()

LINES = 2048  # untagged responses between two looks at the transport


async def look(session: ImapSession, *, thaw: bool = False) -> None:
    """Bring what the session knows of its mailbox up to date. Raises StoreError; NotFound: the mailbox has gone.

    `thaw`: even if the client does not want to hear of it.
    """
    selected, dirty, store = session.selected, session.dirty, session.node.store
    session.dirty = False  # what is told from here on is looked at again
    if selected is None:
        return
    try:
        if not await _stale(session, selected, dirty):
            return
        following = session.notify
        if following is not None and not following.interest.selected and not thaw:
            # NOTIFY wants no news of it (RFC 5465 section 3.1): it stays as the client knows it.
            session.dirty = session.dirty or dirty
            await read_rights(session, selected)
            return
        changes = await store.read(messages.changes, selected.mailbox_id, selected.highestmodseq, selected.uidnext)
        await read_rights(session, selected)
        if changes.mailbox.uidvalidity != selected.uidvalidity:
            raise NotFound("the mailbox is another one now")  # the database was restored from a copy
        entries = await imap_annotations.news(session, selected)
        if changes.vanished is None:
            selected.reload(await store.read(messages.open_view, selected.mailbox_id))
        else:
            selected.take(changes)
        selected.note_entries(entries)
    except BaseException:
        session.dirty = True
        raise


async def read_rights(session: ImapSession, selected: Selected) -> None:
    """What the user may do in a mailbox that somebody shares with him. Raises NotFound: he may not even read it."""
    if selected.own:
        return
    found = await session.node.store.read(rights.of, selected.owner_id, selected.mailbox_id, session.user_id)
    selected.rights = found
    if "r" not in found:
        raise NotFound("the right to read the mailbox was taken away")


async def _stale(session: ImapSession, selected: Selected, dirty: bool) -> bool:
    """Whether the store has news. A lost hint does not matter: the mailbox's own number tells."""
    if dirty and not selected.own:
        return True  # the rights to it may be others now
    try:
        uidvalidity, modseq, uidnext = session.node.store.peek(mailboxes.moment, selected.mailbox_id)
    except Busy:  # no read without waiting here (PostgreSQL)
        if dirty:
            return True
        uidvalidity, modseq, uidnext = await session.node.store.read(mailboxes.moment, selected.mailbox_id)
    # What this session did itself makes it dirty too, and is known already.
    return modseq != selected.highestmodseq or uidnext > selected.uidnext or uidvalidity != selected.uidvalidity


async def tell(session: ImapSession, *, expunge: bool) -> None:
    """Send untagged responses for what has been learnt."""
    selected = session.selected
    if selected is None:
        return
    if selected.contexts:
        await imap_contexts.tell_removed(session, selected, expunge=expunge)
    told = selected.tell(
        expunge=expunge,
        vanished=session.qresync or session.uid_only,
        modseq=session.condstore,
        recent=session.recent_shown,
        uid_only=session.uid_only,
    )
    while some := list(islice(told, LINES)):
        session.core.write(b"* %b\r\n" % b"\r\n* ".join(some))
        if len(some) == LINES:
            await session.drained()
    if fresh := selected.take_fresh():
        await imap_notify.fetch_new(session, selected, fresh)
    if selected.contexts:
        await imap_contexts.tell_added(session, selected)


def claim_recent(session: ImapSession, selected: Selected) -> None:
    """What came while the mailbox was selected was \\Recent here: it is not for the next session."""
    if selected.read_only or not selected.own or not session.recent_shown or not selected.arrived:
        return
    try:
        claimed = session.node.store.write(messages.claim_recent, selected.mailbox_id)
    except StoreError:
        return  # the store is closed
    claimed.add_done_callback(_unheard)


def _unheard(done: asyncio.Future[int]) -> None:
    if not done.cancelled() and not isinstance(error := done.exception(), NotFound | None):
        log.info("Recent messages could not be claimed", error=str(error))
