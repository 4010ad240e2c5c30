"""STORE and UID STORE, EXPUNGE and UID EXPUNGE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.imap.commands import Expunge, Store
from pillarbox.imap.events import Command
from pillarbox.imap.sequence import render_numbers
from pillarbox.session.imap_answers import Answer, gone
from pillarbox.store import messages

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def store(session: ImapSession, command: Command) -> Answer:
    """Change flags of messages in one write, and note what is to be told: all of them, less after .SILENT."""
    args = command.args
    assert isinstance(args, Store)
    selected = session.writable()
    if args.unchanged_since is not None:
        session.condstore_used()
    picks = session.pick(args.sequence, uid=command.uid)
    uids = [uid for pick in picks for uid in selected.uids[pick.start : pick.stop]]
    if not uids:
        return Answer("STORE completed")
    stored = await session.store.write(
        messages.store_flags,
        selected.mailbox_id,
        uids,
        args.operation,
        args.flags,
        args.keywords,
        args.unchanged_since,
    )
    for changed in stored.changed:
        selected.set_flags(*changed)
    refused = sorted(stored.refused)
    if not args.silent:
        selected.note(set(uids).difference(refused))
    elif session.condstore:
        # RFC 7162 section 3.1.3: the new mod-sequence is told even then.
        selected.note_silent(changed[0] for changed in stored.changed)
    await session.look()
    if refused:
        return _modified(refused if command.uid else [selected.index(uid) + 1 for uid in refused])
    if not command.uid and any(map(selected.is_gone, uids)):
        raise gone()  # RFC 2180 section 4.2.2: the others were changed
    return Answer("STORE completed")


def _modified(numbers: Sequence[int]) -> Answer:
    """Those that failed the UNCHANGEDSINCE test, RFC 7162 section 3.1.3."""
    return Answer("conditional STORE failed for some", "MODIFIED " + render_numbers(numbers).decode())


async def expunge(session: ImapSession, command: Command) -> Answer:
    """Remove \\Deleted messages: all, or with UID EXPUNGE those of a set (RFC 4315 section 2.1)."""
    selected = session.writable()
    uids: list[int] | None = None
    if isinstance(command.args, Expunge):
        picks = session.pick(command.args.sequence, uid=True)
        # The store takes those that are \Deleted there, whatever this session has heard.
        uids = [uid for pick in picks for uid in selected.uids[pick.start : pick.stop]]
        if not uids:
            return Answer("EXPUNGE completed")
    done = await session.store.write(messages.expunge, selected.mailbox_id, uids)
    return Answer("EXPUNGE completed", expunged=bool(done.uids))
