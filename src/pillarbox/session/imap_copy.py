"""COPY, UID COPY, MOVE and UID MOVE: rows of the store, never octets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.imap.commands import Copy
from pillarbox.imap.events import Command
from pillarbox.imap.responses import copyuid
from pillarbox.session import imap_annotations
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer, Refuse, SourceGone, gone
from pillarbox.session.imap_store import permitted
from pillarbox.store import Tx, flags, messages
from pillarbox.store.records import Copied

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def copy(session: ImapSession, command: Command) -> Answer:
    """Answer COPY, RFC 9051 section 6.4.7."""
    copied = await _transfer(session, command, move=False)
    return Answer("COPY completed", copyuid(copied.uidvalidity, copied.uids) if copied else None)


async def move(session: ImapSession, command: Command) -> Answer:
    """Answer MOVE, RFC 9051 section 6.4.8: COPYUID first, then the messages go."""
    session.writable("te")
    moved = await _transfer(session, command, move=True)
    if moved:
        session.core.condition("OK", "these were moved", copyuid(moved.uidvalidity, moved.uids))
    return Answer("MOVE completed", expunged=moved is not None)


async def _transfer(session: ImapSession, command: Command, *, move: bool) -> Copied | None:
    args, selected = command.args, session.selected
    assert isinstance(args, Copy)
    assert selected is not None
    picks = session.pick(args.sequence, uid=command.uid)
    uids = [uid for pick in picks for uid in selected.uids[pick.start : pick.stop]]
    most = session.core.limits.save
    if not move and len(uids) > most:  # RFC 9738 section 3: MOVE is not limited by SAVELIMIT, and COPY is all or none
        raise Refuse(
            f"One COPY takes at most {most} messages: copy fewer at a time", f"MESSAGELIMIT {most} {uids[-most]}"
        )
    try:
        copied = await session.write(
            _transferred, session.user_id, selected.mailbox_id, uids, args.mailbox, move, strict=not command.uid
        )
    except SourceGone:
        raise gone() from None
    return copied if copied is not None and copied.uids else None


def _transferred(
    tx: Tx, user_id: int, mailbox_id: int, uids: Sequence[int], target: str, move: bool, *, strict: bool
) -> Copied | None:
    """Copy or move in one transaction. With `strict` (message numbers) every message must still be there."""
    box, rights = seen(tx, user_id, target, "i", try_create=True)
    if not uids:
        return None
    along = imap_annotations.carried(user_id, rights)
    copied = (messages.move if move else messages.copy)(tx, mailbox_id, uids, box.id, along)
    mask, words = flags.ALL & ~permitted(rights), "w" not in rights
    if mask and copied.uids:  # RFC 4314 section 4: flags that may not be set there are not copied
        messages.store_flags(tx, box.id, [new for _, new in copied.uids], "set", 0, (), mask=mask, words=words)
    if strict and len(copied.uids) < len(uids):
        raise SourceGone
    return copied
