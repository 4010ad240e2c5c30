"""STORE and UID STORE, EXPUNGE and UID EXPUNGE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pillarbox.imap.commands import Expunge, Store
from pillarbox.imap.events import Command
from pillarbox.imap.sequence import render_numbers
from pillarbox.session.imap_answers import Answer, Refuse, gone
from pillarbox.session.imap_selected import Selected
from pillarbox.store import flags, messages
from pillarbox.store.records import StoredFlags

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

FEW = 200  # messages that are looked at before a STORE that will change nothing


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
    mask = permitted(selected.rights)
    words = "w" in selected.rights
    if not (args.flags & mask or (args.keywords and words)) and (args.flags or args.keywords or not mask):
        raise Refuse("You have not the right to change these flags", "NOPERM")
    wanted = (selected.mailbox_id, uids, args.operation, args.flags, args.keywords, args.unchanged_since)
    stored: StoredFlags | None = None
    if len(uids) <= FEW and _as_wanted(selected, args, picks, mask):
        stored = await session.store.read(messages.unchanged_flags, *wanted, mask=mask, words=words)
    if stored is None:
        stored = await session.write(messages.store_flags, *wanted, mask=mask, words=words)
    surprising = _take(selected, args, stored)
    refused = sorted(stored.refused)
    every = args.operation == "set"
    if (flags.ALL if every else args.flags) & ~mask or (not words and (every or args.keywords)):
        surprising = sorted(set(uids).difference(refused))  # some flags stayed: the client takes them for changed
    if args.silent:
        selected.note(surprising)  # RFC 9051 section 6.4.6: what others did is told even then
        if session.condstore:  # and so is the new mod-sequence, RFC 7162 section 3.1.3
            selected.note_silent(changed[0] for changed in stored.changed)
    current = selected.changed_by_us(stored)
    if not current:
        await session.look()
    if not args.silent:
        done = {changed[0] for changed in stored.changed}
        told = set(uids).difference(refused)
        selected.note(uid for uid in told if uid in done or not selected.is_gone(uid))
    if refused:
        return modified(refused if command.uid else [selected.index(uid) + 1 for uid in refused])
    if not command.uid and selected.has_gone(uids):
        raise gone()  # RFC 2180 section 4.2.2: the others were changed
    return Answer("STORE completed", current=current)


def _as_wanted(selected: Selected, args: Store, picks: Sequence[range], mask: int) -> bool:
    """Whether all flags are as they shall be, as far as this session knows (keywords are not looked at)."""
    if args.keywords or args.operation == "set":
        return False
    here = args.flags & mask
    there = here if args.operation == "add" else 0
    return all(selected.flags[at] & here == there for pick in picks for at in pick)


def permitted(rights: str) -> int:
    """The system flags that may be changed with these rights (RFC 4314 section 4)."""
    others = flags.ALL & ~(flags.SEEN | flags.DELETED)
    return others * ("w" in rights) | flags.SEEN * ("s" in rights) | flags.DELETED * ("t" in rights)


def _take(selected: Selected, args: Store, stored: StoredFlags) -> list[int]:
    """Take the flags as they are now; the UIDs of those whose flags the client cannot know after .SILENT.

    It computes them from what this session knew; others may have been there.
    """
    surprising = []
    asked = _lower(args.keywords)
    for at, (uid, bits, words, modseq) in zip(
        selected.indexes([changed[0] for changed in stored.changed]), stored.changed, strict=True
    ):
        if at < 0:
            continue
        if args.silent and args.operation != "set":
            had, known = selected.flags[at], selected.keywords.get(uid, ())
            if bits != (had | args.flags if args.operation == "add" else had & ~args.flags):
                surprising.append(uid)
            elif asked or words != known:
                expected = _lower(known) | asked if args.operation == "add" else _lower(known) - asked
                if _lower(words) != expected:
                    surprising.append(uid)
        selected.put_flags(at, bits, words, modseq)
    return surprising


def _lower(keywords: Iterable[str]) -> set[str]:
    return {word.lower() for word in keywords}


def modified(numbers: Sequence[int]) -> Answer:
    """Those that failed the UNCHANGEDSINCE test, RFC 7162 section 3.1.3."""
    return Answer("conditional STORE failed for some", "MODIFIED " + render_numbers(numbers).decode())


async def expunge(session: ImapSession, command: Command) -> Answer:
    """Remove \\Deleted messages: all, or with UID EXPUNGE those of a set (RFC 4315 section 2.1)."""
    selected = session.writable("e")
    uids: list[int] | None = None
    if isinstance(command.args, Expunge):
        picks = session.pick(command.args.sequence, uid=True)
        # The store takes those that are \Deleted there, whatever this session has heard.
        uids = [uid for pick in picks for uid in selected.uids[pick.start : pick.stop]]
        if not uids:
            return Answer("EXPUNGE completed")
    done = await session.write(messages.expunge, selected.mailbox_id, uids)
    current = selected.expunged_by_us(done)
    return Answer("EXPUNGE completed", expunged=bool(done.uids), current=current)
