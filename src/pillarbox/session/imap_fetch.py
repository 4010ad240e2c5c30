"""FETCH and UID FETCH.

What columns and rows know goes in lines (`imap_fetch_lines`). Everything else goes message by message, in pages: one
read gives what was computed at delivery, one write marks the page's messages \\Seen, and octets are cut from the blobs
in batches that stay small (`imap_fetch_batches`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from pillarbox.imap import flags as imap_flags
from pillarbox.imap.annotation import Annotations
from pillarbox.imap.annotation_grammar import annotation
from pillarbox.imap.commands import Fetch
from pillarbox.imap.dates import internal_date
from pillarbox.imap.events import Command
from pillarbox.imap.fetch import FetchItem, Item, Section
from pillarbox.imap.partial import positions
from pillarbox.imap.responses import string
from pillarbox.imap.sequence import SequenceSet, compact
from pillarbox.session.imap_annotations import Notes, Values
from pillarbox.session.imap_answers import Answer, Refuse, gone
from pillarbox.session.imap_fetch_batches import Batches
from pillarbox.session.imap_fetch_lines import Lines, fits
from pillarbox.session.imap_sections import Piece, Sections
from pillarbox.session.imap_select import vanished_earlier, vanished_since
from pillarbox.session.imap_selected import Selected
from pillarbox.store import messages, object_ids
from pillarbox.store.errors import StoreError
from pillarbox.store.records import Rendered

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

log = structlog.get_logger()

_PAGE = 200  # messages of one read of rendered bytes
PAGE_OCTETS = 1 << 20  # octets of them: what was computed, and waits here for the client, may be twice as large
_SMALL_PAGE = 20  # messages of the first page when contents are read: the first answer comes soon
_COMPUTED = frozenset({Item.ENVELOPE, Item.BODYSTRUCTURE, Item.BODY, Item.PREVIEW, Item.EMAILID})


async def fetch(session: ImapSession, command: Command) -> Answer:
    """Answer FETCH or UID FETCH."""
    args, selected = command.args, session.selected
    assert isinstance(args, Fetch)
    assert selected is not None
    items = args.items
    if args.changed_since is not None or Item.MODSEQ in items:
        session.condstore_used()
    picks = session.pick(args.sequence, uid=command.uid)
    if args.vanished:
        assert args.changed_since is not None
        await _vanished(session, selected, args.sequence, args.changed_since)
    if args.changed_since is not None:
        picks = _changed_since(selected, picks, args.changed_since)
    if args.partial is not None:
        picks = _partial(picks, args.partial)
    failure = await send(session, selected, items, picks)
    if failure is not None:
        raise failure  # what could be sent was sent
    return Answer("FETCH completed")


async def send(
    session: ImapSession, selected: Selected, items: Sequence[FetchItem], picks: list[range], *, marks: bool = True
) -> Refuse | None:
    """FETCH responses for these indexes; why one of them could not be sent, if so. `marks`: reading sets \\Seen."""
    marks = marks and not selected.read_only and any(isinstance(item, Section) and not item.peek for item in items)
    if fits(items, marks=marks):
        return await _in_lines(session, selected, items, picks)
    return await _from_store(session, selected, items, picks, marks=marks)


def _changed_since(selected: Selected, picks: list[range], modseq: int) -> list[range]:
    found = [at for pick in picks for at in selected.newer(pick, modseq)]
    return [range(low, high + 1) for low, high in compact(found)]


def _partial(picks: list[range], partial: tuple[int, int]) -> list[range]:
    """Of all picked messages those at these positions (RFC 9394 section 3.4)."""
    wanted = positions(partial, sum(map(len, picks)))
    found: list[range] = []
    at = 0
    for pick in picks:
        part = pick[max(0, wanted.start - at) : max(0, wanted.stop - at)]
        if part:
            found.append(part)
        at += len(pick)
    return found


async def _vanished(session: ImapSession, selected: Selected, uids: SequenceSet, since: int) -> None:
    """`VANISHED (EARLIER)` for the named UIDs that were expunged after a mod-sequence (RFC 7162 section 3.2.6)."""
    lost = await vanished_since(session, selected, since, uids)
    for response in vanished_earlier(lost):
        session.core.untagged(response)


async def _in_lines(
    session: ImapSession, selected: Selected, items: Sequence[FetchItem], picks: list[range]
) -> Refuse | None:
    """Send lines page by page, and message by message what these cannot tell. Why one could not be sent, if so."""
    lines = Lines(session, selected, items)
    failure: Refuse | None = None
    async for page, rendered in lines.answers(picks):
        if rendered is None:
            failure = (
                await _from_store(session, selected, items, [range(at, at + 1) for at in page], marks=False) or failure
            )
        else:
            session.core.write(rendered)
            await session.drained()
            await asyncio.sleep(0)  # others' turn
    return failure


# From the store.


async def _from_store(
    session: ImapSession, selected: Selected, items: Sequence[FetchItem], picks: list[range], *, marks: bool
) -> Refuse | None:
    """Send what is asked for of each message, page by page. Why one of them could not be sent, if so."""
    batches = Batches(session)
    try:
        failure = await _add_pages(batches, session, selected, items, picks, marks=marks)
        await batches.done()
    finally:
        batches.close()
    return failure


async def _add_pages(
    batches: Batches,
    session: ImapSession,
    selected: Selected,
    items: Sequence[FetchItem],
    picks: list[range],
    *,
    marks: bool,
) -> Refuse | None:
    wanted = [item for item in items if isinstance(item, Section)]
    notes_wanted = any(isinstance(item, Annotations) for item in items)
    # Whole messages need nothing of what was computed of them.
    bare = _COMPUTED.isdisjoint(items) and not any(section.part or section.text for section in wanted)
    failure: Refuse | None = None
    for page in _pages(selected.sizes, picks, first=_SMALL_PAGE if wanted else _PAGE):
        ids = [selected.ids[at] for at in page]
        rows = {row.id: row for row in await session.store.read(messages.rendered, ids, bare=bare)}
        threads: dict[int, str] = {}
        if Item.THREADID in items:
            threads = await session.store.read(object_ids.thread_ids, [row.blob_id for row in rows.values()])
        notes = await Notes.of_page(session, selected, page) if notes_wanted else None
        found: list[tuple[int, Rendered, list[Piece]]] = []
        for at in page:
            row = rows.get(selected.ids[at])
            if row is None:  # RFC 2180 section 4.1.2: the client learns of it when it may
                failure = failure or gone()
                continue
            try:
                found.append((at, row, Sections(row).cuts(wanted)))
            except Refuse as refused:
                failure = failure or refused
        marked = await _mark_seen(session, selected, [at for at, _, _ in found]) if marks else set()
        for at, row, cuts in found:
            shown = items
            if at in marked:  # \Seen was set by this very command: tell it with the octets (RFC 9051 section 6.4.5)
                told = (Item.FLAGS, Item.MODSEQ) if session.condstore else (Item.FLAGS,)
                shown = (*items, *(item for item in told if item not in items))
            values = {} if notes is None else await notes.of(selected.uids[at])
            pieces = _pieces(session, selected, at, row, shown, cuts, threads, values)
            if len(pieces) > 2:  # ANNOTATION of what is not there says nothing
                await batches.add(row.blob_id, pieces)
        session.active()
    return failure


def _pages(sizes: Sequence[int], picks: list[range], first: int) -> Iterator[list[int]]:
    page: list[int] = []
    most, octets = first, 0
    for pick in picks:
        for at in pick:
            page.append(at)
            octets += sizes[at]
            if len(page) >= most or octets >= PAGE_OCTETS:
                yield page
                page, most, octets = [], _PAGE, 0
    if page:
        yield page


async def _mark_seen(session: ImapSession, selected: Selected, page: list[int]) -> set[int]:
    """Set \\Seen where it is missing, in one write; the indexes where that changed something."""
    unseen = [selected.uids[at] for at in page if not selected.flags[at] & imap_flags.SEEN]
    if not unseen or "s" not in selected.rights:
        return set()
    try:
        stored = await session.write(
            messages.store_flags, selected.mailbox_id, unseen, "add", imap_flags.SEEN, (), None
        )
    except StoreError as error:
        # Reading mail goes on when nothing can be written (a full disk); the message stays unseen.
        log.warning("Messages could not be marked as seen", error=str(error), mailbox=selected.name)
        return set()
    return {at for changed in stored.changed if (at := selected.set_flags(*changed)) >= 0}


def _pieces(
    session: ImapSession,
    selected: Selected,
    at: int,
    row: Rendered,
    items: Sequence[FetchItem],
    cuts: list[Piece],
    threads: dict[int, str],
    notes: Values,
) -> list[Piece]:
    """The values of one message in the order asked for, sections (`cuts`, in the same order) not read yet."""
    begin = b"* %d UIDFETCH (" % selected.uids[at] if session.uid_only else b"* %d FETCH (" % (at + 1)
    pieces: list[Piece] = [begin]
    sections = iter(cuts)
    space = b""
    for item in items:
        if isinstance(item, Annotations):
            if told := annotation(item, notes):
                pieces.append(space + told)
                space = b" "
            continue
        if space:
            pieces.append(space)
        space = b" "
        if isinstance(item, Section):
            pieces.append(next(sections))
            continue
        match item:
            case Item.ENVELOPE:
                pieces.append(b"ENVELOPE " + row.envelope)
            case Item.BODYSTRUCTURE:
                pieces.append(b"BODYSTRUCTURE " + row.bodystructure)
            case Item.BODY:
                pieces.append(b"BODY " + row.body)
            case Item.FLAGS:
                pieces.append(b"FLAGS " + selected.render_flags(at, recent=session.recent_shown))
            case Item.UID:
                pieces.append(b"UID %d" % selected.uids[at])
            case Item.RFC822_SIZE:
                pieces.append(b"RFC822.SIZE %d" % selected.sizes[at])
            case Item.INTERNALDATE:
                pieces.append(b"INTERNALDATE %b" % internal_date(selected.dates[at]))
            case Item.MODSEQ:
                pieces.append(b"MODSEQ (%d)" % selected.modseqs[at])
            case Item.SAVEDATE:
                pieces.append(b"SAVEDATE %b" % internal_date(selected.save_dates[at]))
            case Item.PREVIEW:
                pieces.append(b"PREVIEW " + string(row.preview.encode(), session.utf8))
            case Item.EMAILID:
                pieces.append(b"EMAILID (%b)" % object_ids.email_id(row).encode())
            case Item.THREADID:
                pieces.append(b"THREADID (%b)" % threads[row.blob_id].encode())
    pieces.append(b")\r\n")
    return pieces
