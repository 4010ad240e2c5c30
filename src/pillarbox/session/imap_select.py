"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 sections 6.3.2, 6.3.3, 6.4.1, 6.4.2), QRESYNC (RFC 7162 section 3.2.5)."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from pillarbox.imap import flags as imap_flags
from pillarbox.imap import responses
from pillarbox.imap.commands import QResync, Select
from pillarbox.imap.events import Command
from pillarbox.imap.sequence import SequenceSet, compact, render_ranges
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer, no_mailbox
from pillarbox.session.imap_list import attributes
from pillarbox.session.imap_selected import Selected
from pillarbox.store import Tx, annotating, messages, object_ids
from pillarbox.store.errors import NotFound
from pillarbox.store.records import Mailbox

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

log = structlog.get_logger()

CLAIM_PATIENCE = 1.0  # seconds that SELECT waits for its claim of \\Recent to be written
_LINES = 512  # responses between two looks at the transport
_RANGES = 400  # UID ranges in one line


async def select(session: ImapSession, command: Command) -> Answer:
    """Open a mailbox; whatever was open before is closed, also when this fails."""
    args = command.args
    assert isinstance(args, Select)
    if session.selected is not None:
        session.deselect()
        # RFC 9051 section 7.1: from here on responses are about the new mailbox.
        session.core.condition("OK", "the previous mailbox is closed", "CLOSED")
    if args.condstore:
        session.condstore_used()
    box, rights = await session.store.read(seen, session.user_id, args.mailbox, "r")
    examined = args.read_only
    if not set(rights) & set("switen"):  # RFC 4314 section 4, RFC 5257 section 3.4
        args.read_only = True
    recent_from = await _claimed(session, box, args)
    try:
        view = await session.node.views.open(session.store, box)
    except NotFound:
        raise no_mailbox(args.mailbox) from None
    selected = Selected(view, box.name, read_only=args.read_only, recent_from=recent_from, rights=rights)
    selected.own = box.user_id == session.user_id
    selected.annotatable, selected.annotations_told = not examined, args.annotate
    session.select(selected)
    _introduce(session, selected, box, args.mailbox)
    if args.qresync is not None and args.qresync.uidvalidity == selected.uidvalidity:
        await _resynchronise(session, selected, args.qresync)
    verb = "EXAMINE" if args.read_only else "SELECT"
    return Answer(f"{verb} completed", "READ-ONLY" if args.read_only else "READ-WRITE")


async def _claimed(session: ImapSession, box: Mailbox, args: Select) -> int:
    """From which UID on messages are \\Recent here. IMAP4rev2 has no \\Recent, so it leaves them to others."""
    others = box.user_id != session.user_id  # what is new for its owner stays new
    if args.read_only or others or not session.recent_shown or box.first_recent_uid >= box.uidnext:
        return box.first_recent_uid
    claim = session.store.write(messages.claim_recent, box.id)
    claim.add_done_callback(_claim_ended)
    await asyncio.wait((claim,), timeout=CLAIM_PATIENCE)
    if not claim.done() or claim.cancelled() or claim.exception() is not None:
        return box.first_recent_uid  # a full disk, or one who holds the database, keeps nobody from reading
    return claim.result()


def _claim_ended(claim: asyncio.Future[int]) -> None:
    error = None if claim.cancelled() else claim.exception()
    if error is not None:
        log.warning("Recent messages could not be claimed", error=str(error))


def _introduce(session: ImapSession, selected: Selected, box: Mailbox, asked_for: str) -> None:
    """The untagged responses that SELECT must give (RFC 9051 section 6.3.2, RFC 3501 section 6.3.1)."""
    core = session.core
    keywords = selected.keyword_list()
    core.untagged(responses.flags(keywords))
    core.untagged(b"%d EXISTS" % len(selected))
    if session.recent_shown:
        core.untagged(b"%d RECENT" % selected.recent())
        unseen = 0 if session.uid_only else selected.first_without(imap_flags.SEEN)
        if unseen:
            core.condition("OK", "the first unseen message", f"UNSEEN {unseen}")
    core.condition("OK", "flags that are kept", selected.permanent_flags())
    core.condition("OK", "UIDs are valid", f"UIDVALIDITY {selected.uidvalidity}")
    core.condition("OK", "the next UID", f"UIDNEXT {selected.uidnext}")
    core.condition("OK", "the highest mod-sequence", f"HIGHESTMODSEQ {selected.highestmodseq}")
    most = annotating.MAX_VALUE if selected.annotatable else "READ-ONLY"
    core.condition("OK", "octets of an annotation", f"ANNOTATIONS {most}")  # RFC 5257 section 4.1
    core.condition("OK", "the mailbox's id", f"MAILBOXID ({object_ids.mailbox_id(box)})")
    if session.rev2:
        old_name = asked_for if asked_for != box.name else None  # names are normalised: RFC 9051 section 6.3.9.7
        core.untagged(responses.listing(attributes(box), box.name, utf8=True, old_name=old_name))


async def _resynchronise(session: ImapSession, selected: Selected, known: QResync) -> None:
    """What the client missed since its mod-sequence: VANISHED (EARLIER) and flags."""
    below = _agreed(selected, *known.matches) if known.matches is not None else 0
    lost = await vanished_since(session, selected, known.modseq, known.known_uids, below)
    for response in vanished_earlier(lost):
        session.core.untagged(response)
    lines: list[bytes] = []
    for at, modseq in enumerate(selected.modseqs):
        uid = selected.uids[at]
        if modseq <= known.modseq or (known.known_uids is not None and uid not in known.known_uids):
            continue
        shown = selected.render_flags(at, recent=session.recent_shown)
        begin = b"%d UIDFETCH" % uid if session.uid_only else b"%d FETCH" % (at + 1)
        lines.append(b"* %b (UID %d FLAGS %b MODSEQ (%d))\r\n" % (begin, uid, shown, modseq))
        if len(lines) >= _LINES:
            session.core.write(b"".join(lines))
            lines.clear()
            await session.drained()
    session.core.write(b"".join(lines))


def _agreed(selected: Selected, numbers: SequenceSet, uids: SequenceSet) -> int:
    """The highest UID at the same number on both sides: nothing below it has vanished (RFC 7162 section 3.2.5.2)."""
    best = 0
    pairs = zip(
        (number for low, high in numbers.ranges for number in range(low, high + 1)),
        (uid for low, high in uids.ranges for uid in range(low, high + 1)),
        strict=False,
    )
    for number, uid in pairs:
        if number > len(selected):
            break
        if selected.uids[number - 1] != uid:
            break
        best = uid
    return best


async def vanished_since(
    session: ImapSession, selected: Selected, modseq: int, uids: SequenceSet | None, below: int = 0
) -> list[tuple[int, int]]:
    """Ranges of UIDs (of the set, if given; over `below`) that were expunged after a mod-sequence.

    Those that still have a number here are not among them: they go by an untagged EXPUNGE or VANISHED, which moves the
    numbers behind them (RFC 7162 section 3.2.10.1). When the store does not remember that far back, every UID of the
    set that is not there (section 3.2.5).
    """
    lost = await session.store.read(_vanished, selected.mailbox_id, modseq, selected.uidnext)
    if lost is not None:
        wanted_ones = (uid for uid in lost if uid > below and (uids is None or uid in uids))
        return compact([uid for uid in wanted_ones if selected.index(uid) < 0])
    wanted = (uids or SequenceSet(((1, selected.uidnext - 1),))).limit(selected.uidnext - 1)
    return _gaps(selected.uids, wanted, below)


def _gaps(uids: Sequence[int], wanted: Sequence[tuple[int, int]], below: int) -> list[tuple[int, int]]:
    """What of the wanted ranges is not among the ascending UIDs. O(UIDs in them), however wide the ranges."""
    gaps: list[tuple[int, int]] = []
    for low, high in wanted:
        start = max(low, below + 1)
        for at in range(bisect_left(uids, start), bisect_right(uids, high)):
            if start < uids[at]:
                gaps.append((start, uids[at] - 1))
            start = uids[at] + 1
        if start <= high:
            gaps.append((start, high))
    return gaps


def vanished_earlier(ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """`VANISHED (EARLIER) 41,43:116`, in several responses when it is long."""
    for at in range(0, len(ranges), _RANGES):
        yield b"VANISHED (EARLIER) " + render_ranges(ranges[at : at + _RANGES])


def _vanished(tx: Tx, mailbox_id: int, modseq: int, uidnext: int) -> list[int] | None:
    return messages.changes(tx, mailbox_id, modseq, uidnext).vanished


async def close(session: ImapSession, command: Command) -> Answer:
    """CLOSE: expunge without telling, then let go. UNSELECT: only let go."""
    selected = session.selected
    assert selected is not None
    if command.name == "CLOSE" and not selected.read_only and "e" in selected.rights:
        await session.write(messages.expunge, selected.mailbox_id, None)
    session.deselect()
    return Answer(f"{command.name} completed")
