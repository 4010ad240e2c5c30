"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 sections 6.3.2, 6.3.3, 6.4.1, 6.4.2), QRESYNC (RFC 7162 section 3.2.5)."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

from pillarbox.imap import flags as imap_flags
from pillarbox.imap import responses
from pillarbox.imap.commands import QResync, Select
from pillarbox.imap.events import Command
from pillarbox.imap.sequence import SequenceSet, compact, render_ranges
from pillarbox.session.connection import Lost
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer, no_mailbox
from pillarbox.session.imap_list import attributes
from pillarbox.session.imap_selected import Selected
from pillarbox.store import Tx, annotating, messages, object_ids
from pillarbox.store.errors import Busy, NotFound
from pillarbox.store.records import Mailbox

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

log = structlog.get_logger()

CLAIM_PATIENCE = 1.0  # seconds that SELECT waits for its claim of \\Recent to be written
_LINES = 512  # responses between two looks at the transport
_PAGE = 20_000  # messages looked through in one turn of the loop
_RANGES = 400  # UID ranges in one line
_CHANGE = frozenset("switen")  # rights to change something in a mailbox

_STATE = (
    b"* %b\r\n* %d EXISTS\r\n%b* OK [%b] flags that are kept\r\n"
    b"* OK [UIDVALIDITY %d] UIDs are valid\r\n* OK [UIDNEXT %d] the next UID\r\n"
    b"* OK [HIGHESTMODSEQ %d] the highest mod-sequence\r\n"
    b"* OK [ANNOTATIONS %b] octets of an annotation\r\n* OK [MAILBOXID (%b)] the mailbox's id\r\n"
)


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
    user_id, store, fresh = session.user_id, session.store, True
    try:
        box, rights = store.peek(seen, user_id, args.mailbox, "r")
    except Busy:
        box, rights = await store.read(seen, user_id, args.mailbox, "r")
        fresh = False
    own = box.user_id == user_id
    examined = args.read_only
    if _CHANGE.isdisjoint(rights):  # RFC 4314 section 4, RFC 5257 section 3.4
        args.read_only = True
    recent_from = box.first_recent_uid
    # IMAP4rev2 has no \Recent, so it leaves them to others. What is new for its owner stays new.
    if recent_from < box.uidnext and own and not args.read_only and session.recent_shown:
        recent_from, fresh = await _claimed(session, box), False
    if session.closed:  # it would hold the columns of another for ever
        raise Lost
    views = session.node.views
    view = views.unchanged(box)
    beside = session.beside(box) if view is None else None
    if beside is not None:
        view = beside.view()
    elif view is None:
        fresh = False
        try:
            view = await views.open(store, box)
        except NotFound:
            raise no_mailbox(args.mailbox) from None
    selected = Selected(view, box.name, read_only=args.read_only, recent_from=recent_from, rights=rights, beside=beside)
    selected.own = own
    selected.annotatable, selected.annotations_told = not examined, args.annotate
    session.select(selected, fresh=fresh)
    _introduce(session, selected, box, args.mailbox)
    if args.qresync is not None and args.qresync.uidvalidity == selected.uidvalidity:
        await _resynchronise(session, selected, args.qresync)
    verb = "EXAMINE" if args.read_only else "SELECT"
    return Answer(f"{verb} completed", "READ-ONLY" if args.read_only else "READ-WRITE", fresh=fresh)


async def _claimed(session: ImapSession, box: Mailbox) -> int:
    """From which UID on messages are \\Recent here."""
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
    flags, permanent = _flags(tuple(selected.keyword_list()), selected.read_only, selected.rights)
    core.write(
        _STATE
        % (
            flags,
            len(selected.uids),
            _recent(session, selected) if session.recent_shown else b"",
            permanent,
            selected.uidvalidity,
            selected.uidnext,
            selected.highestmodseq,
            b"%d" % annotating.MAX_VALUE if selected.annotatable else b"READ-ONLY",  # RFC 5257 section 4.1
            object_ids.mailbox_id(box).encode("ascii"),
        )
    )
    if session.rev2:
        old_name = asked_for if asked_for != box.name else None  # names are normalised: RFC 9051 section 6.3.9.7
        core.untagged(responses.listing(attributes(box), box.name, utf8=True, old_name=old_name))


def _recent(session: ImapSession, selected: Selected) -> bytes:
    """What only RFC 3501 knows: RECENT, and which message is the first unseen one."""
    unseen = 0 if session.uid_only else selected.first_without(imap_flags.SEEN)
    first = b"* OK [UNSEEN %d] the first unseen message\r\n" % unseen if unseen else b""
    return b"* %d RECENT\r\n%b" % (selected.recent(), first)


@lru_cache(maxsize=256)
def _flags(keywords: tuple[str, ...], read_only: bool, rights: str) -> tuple[bytes, bytes]:
    """The FLAGS response and the code PERMANENTFLAGS."""
    permanent = responses.permanent_flags(keywords, read_only=read_only, rights=rights)
    return responses.flags(keywords), permanent.encode("ascii", "replace")


async def _resynchronise(session: ImapSession, selected: Selected, known: QResync) -> None:
    """What the client missed since its mod-sequence: VANISHED (EARLIER) and flags."""
    below = _agreed(selected, *known.matches) if known.matches is not None else 0
    lost = await vanished_since(session, selected, known.modseq, known.known_uids, below)
    for response in vanished_earlier(lost):
        session.core.untagged(response)
    if known.modseq >= selected.highestmodseq:
        return
    lines: list[bytes] = []
    for start in range(0, len(selected), _PAGE):
        stop = min(start + _PAGE, len(selected))
        for at in selected.newer(range(start, stop), known.modseq):
            uid = selected.uids[at]
            if known.known_uids is not None and uid not in known.known_uids:
                continue
            shown = selected.render_flags(at, recent=session.recent_shown)
            begin = b"%d UIDFETCH" % uid if session.uid_only else b"%d FETCH" % (at + 1)
            lines.append(b"* %b (UID %d FLAGS %b MODSEQ (%d))\r\n" % (begin, uid, shown, selected.modseqs[at]))
            if len(lines) >= _LINES:
                session.core.write(b"".join(lines))
                lines.clear()
                await session.drained()
        if stop < len(selected):
            await asyncio.sleep(0)  # others have their turn
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
