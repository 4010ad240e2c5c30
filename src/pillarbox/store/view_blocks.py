"""The columns of a large mailbox, kept packed: opening it reads some megabytes in a row instead of a row a message.

A block has the messages of SPAN UIDs, and is written when the last of these UIDs was given. `view_packs` says from when
on: every block is what its messages were at modification number `modseq` or later, so that what was changed or expunged
after that number, brought in once more, makes it what they are now. Blocks are derived: where one is missing, or the
history of expunges does not reach back, rows are read. A job (`due`, `carry_out`) writes those anew in which much has
changed.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from pillarbox.store.errors import Corrupt, NotFound
from pillarbox.store.flags import split_keywords
from pillarbox.store.mailbox_lookup import get
from pillarbox.store.packing import packed, unpacked
from pillarbox.store.records import Mailbox, View
from pillarbox.store.tx import Tx

SPAN = 8192  # UIDs of a block
LEAST = 20_000  # messages of a mailbox that is worth it: the rows of fewer are read in some 30 ms
STALE = 4096  # changes after which blocks are written anew

_BEGUN = 0  # the modification number of blocks that are not all there yet: nobody reads them
_LEVEL = 1
_TOGETHER = 8  # blocks read at a time
_MOST_WORDS = 1 << 20  # letters of keywords in a block; one with more is not kept, and read from the rows
_PAGE = 1000  # rows turned into columns at a time, so that a large mailbox never stands as tuples
_COLUMNS = {"uids": "I", "flags": "B", "modseqs": "q", "sizes": "q", "dates": "q", "ids": "q", "save_dates": "q"}

_ROWS = (
    "SELECT uid, flags, modseq, size, internal_date, id, save_date, keywords FROM messages "
    "WHERE mailbox_id = ? AND uid >= ? AND uid < ? ORDER BY uid LIMIT ?"
)
_PACK = "SELECT modseq, span, uidvalidity FROM view_packs WHERE mailbox_id = ?"
_BLOCKS = f"SELECT block, data FROM view_blocks WHERE mailbox_id = ? AND block > ? ORDER BY block LIMIT {_TOGETHER}"
# The plus signs keep the planner from walking all UIDs of the mailbox: few rows are newer than a modification number.
_CHANGED = "SELECT uid, flags, modseq, keywords FROM messages WHERE mailbox_id = ? AND modseq > ? AND +uid < ?"
_VANISHED = "SELECT uid FROM expunged WHERE mailbox_id = ? AND modseq > ? AND +uid < ?"
_NEWER = "SELECT count(*) FROM (SELECT 1 FROM {} WHERE mailbox_id = ? AND modseq > ? LIMIT ?) AS newer"
_TOUCHED = (
    "SELECT uid / ? FROM messages WHERE mailbox_id = ? AND modseq > ? "
    "UNION SELECT uid / ? FROM expunged WHERE mailbox_id = ? AND modseq > ? ORDER BY 1"
)
_LARGE = "SELECT id FROM mailboxes WHERE message_count >= ? AND deleted_at IS NULL ORDER BY id"
_USELESS = (
    "SELECT p.mailbox_id FROM view_packs p JOIN mailboxes m ON m.id = p.mailbox_id "
    "WHERE m.message_count < ? OR m.deleted_at IS NOT NULL"
)


class Due(NamedTuple):
    """What `carry_out` is to do. `number` is a block (drop, write) or a modification number (end)."""

    order: Literal["drop", "begin", "write", "end"]
    mailbox_id: int
    number: int


def empty(mailbox: Mailbox) -> View:
    """A view without messages, for `read_rows`."""
    return View(mailbox, **{name: array(code) for name, code in _COLUMNS.items()}, keywords={})


def read_rows(tx: Tx, view: View, low: int = 1, high: int = 1 << 32) -> None:
    """Add the messages with UIDs from `low` to below `high`, by their rows."""
    columns = _columns(view)
    while rows := tx.rows(_ROWS, (view.mailbox.id, low, high, _PAGE)):
        *numbers, keywords = zip(*rows, strict=True)
        for column, values in zip(columns, numbers, strict=True):
            column.extend(values)
        if any(keywords):
            view.keywords.update((row[0], split_keywords(row[7])) for row in rows if row[7])
        low = view.uids[-1] + 1
        if len(rows) < _PAGE:
            break


def read(tx: Tx, mailbox: Mailbox) -> View | None:
    """The view of a mailbox by its blocks; None when they are of no use."""
    since = _since(tx, mailbox)
    if since is None or mailbox.message_count < LEAST:
        return None
    view, at = empty(mailbox), 1
    for block, data in _stored(tx, mailbox.id):
        if at < block * SPAN:
            read_rows(tx, view, at, block * SPAN)
        _unpack(view, data)
        at = (block + 1) * SPAN
    _take_changed(view, tx.rows(_CHANGED, (mailbox.id, since, at)))
    _take_vanished(view, [uid for (uid,) in tx.rows(_VANISHED, (mailbox.id, since, at))])
    read_rows(tx, view, at)
    # Who removes rows by hand leaves no history of it.
    return view if len(view.uids) == mailbox.message_count else None


def due(tx: Tx) -> list[Due]:
    """All there is to do, the last thing first. A scan."""
    orders: list[Due] = []
    for (mailbox_id,) in tx.rows(_USELESS, (LEAST // 2,)):
        orders += _drops(tx, mailbox_id)
    for (mailbox_id,) in tx.rows(_LARGE, (LEAST,)):
        mailbox = get(tx, mailbox_id)
        since, known = _since(tx, mailbox), mailbox.highestmodseq
        if since is None:
            blocks = tx.rows(
                "SELECT DISTINCT uid / ? FROM messages WHERE mailbox_id = ? ORDER BY 1", (SPAN, mailbox_id)
            )
            orders += [*_drops(tx, mailbox_id), Due("begin", mailbox_id, _BEGUN)]
        elif _changes(tx, mailbox_id, since) >= STALE:
            blocks = tx.rows(_TOUCHED, (SPAN, mailbox_id, since) * 2)
        else:
            continue
        orders += [Due("write", mailbox_id, block) for (block,) in blocks if block < mailbox.uidnext // SPAN]
        orders.append(Due("end", mailbox_id, known))
    return orders[::-1]


def carry_out(tx: Tx, one: Due) -> int:
    """Do one of the things that are due: all those of a mailbox in their order, or none of the later ones.

    What several processes do at the same time is right too: a block is only ever written as it is now, and "end" says
    what its `due` has seen: what was changed up to then is in blocks that were written after it.
    """
    mailbox_id = one.mailbox_id
    match one.order:
        case "drop":
            tx.run("DELETE FROM view_packs WHERE mailbox_id = ?", (mailbox_id,))
            tx.run("DELETE FROM view_blocks WHERE mailbox_id = ? AND block = ?", (mailbox_id, one.number))
        case "begin":
            mailbox = _locked(tx, mailbox_id)
            if mailbox is not None:
                for table in ("view_packs", "view_blocks"):
                    tx.run(f"DELETE FROM {table} WHERE mailbox_id = ?", (mailbox_id,))
                tx.run(
                    "INSERT INTO view_packs (mailbox_id, uidvalidity, span, modseq) VALUES (?, ?, ?, ?)",
                    (mailbox_id, mailbox.uidvalidity, SPAN, _BEGUN),
                )
        case "write":
            mailbox = _locked(tx, mailbox_id)
            if mailbox is not None and tx.row(_PACK, (mailbox_id,)) is not None:
                view = empty(mailbox)
                read_rows(tx, view, one.number * SPAN, (one.number + 1) * SPAN)
                if sum(map(len, map(" ".join, set(view.keywords.values())))) > _MOST_WORDS:
                    tx.run("DELETE FROM view_blocks WHERE mailbox_id = ? AND block = ?", (mailbox_id, one.number))
                    return 1
                tx.run(
                    "INSERT INTO view_blocks (mailbox_id, block, data) VALUES (?, ?, ?) "
                    "ON CONFLICT (mailbox_id, block) DO UPDATE SET data = excluded.data",
                    (mailbox_id, one.number, _packed(view)),
                )
        case "end":
            tx.run(
                "UPDATE view_packs SET modseq = ? WHERE mailbox_id = ? AND modseq < ?",
                (one.number, mailbox_id, one.number),
            )
    return 1


def wrong(tx: Tx) -> list[str]:
    """Blocks that tell something else than the rows do."""
    problems = []
    for (mailbox_id,) in tx.rows(
        "SELECT p.mailbox_id FROM view_packs p JOIN mailboxes m ON m.id = p.mailbox_id "
        "WHERE m.deleted_at IS NULL ORDER BY 1"
    ):
        mailbox = get(tx, mailbox_id)
        try:
            packed = read(tx, mailbox)
        except Corrupt as error:
            problems.append(f"The packed columns of mailbox {mailbox_id} are damaged: {error}.")
            continue
        rows = empty(mailbox)
        read_rows(tx, rows)
        if packed is not None and packed != rows:
            problems.append(f"The packed columns of mailbox {mailbox_id} are not what its rows say.")
    return problems


def _locked(tx: Tx, mailbox_id: int) -> Mailbox | None:
    """The mailbox, which does not change any more in this transaction; None when it is deleted."""
    owner = tx.row("SELECT user_id FROM mailboxes WHERE id = ? AND deleted_at IS NULL", (mailbox_id,))
    if owner is None:
        return None
    tx.lock(owner)
    try:
        return get(tx, mailbox_id)
    except NotFound:
        return None


def _since(tx: Tx, mailbox: Mailbox) -> int | None:
    """The modification number after which the blocks know nothing; None when they are of no use."""
    row = tx.row(_PACK, (mailbox.id,))
    if row is None or row[1:] != (SPAN, mailbox.uidvalidity) or row[0] < mailbox.history_from or row[0] == _BEGUN:
        return None
    since: int = row[0]
    return since


def _changes(tx: Tx, mailbox_id: int, since: int) -> int:
    """How many messages were changed or expunged since, of each at most STALE."""
    counts = [tx.row(_NEWER.format(table), (mailbox_id, since, STALE)) for table in ("messages", "expunged")]
    return sum(row[0] for row in counts if row is not None)


def _drops(tx: Tx, mailbox_id: int) -> list[Due]:
    rows = tx.rows("SELECT block FROM view_blocks WHERE mailbox_id = ? ORDER BY block", (mailbox_id,))
    return [Due("drop", mailbox_id, block) for (block,) in rows or [(0,)]]


def _stored(tx: Tx, mailbox_id: int) -> Iterator[tuple[int, bytes]]:
    last = -1
    while rows := tx.rows(_BLOCKS, (mailbox_id, last)):
        yield from rows
        last = rows[-1][0]


def _columns(view: View) -> list[array[int]]:
    return [getattr(view, name) for name in _COLUMNS]


def _packed(view: View) -> bytes:
    """Keywords by UID, in the order of flags, then the columns one after the other, compressed."""
    words: dict[str, array[int]] = {}
    for uid, keywords in view.keywords.items():
        words.setdefault(" ".join(keywords), array("I")).append(uid)
    columns = {name: _little(column) for name, column in zip(_COLUMNS, _columns(view), strict=True)}
    parts = {"columns": columns, "keywords": {text: _little(uids) for text, uids in words.items()}}
    return packed(parts, _LEVEL)


class _Parts(msgspec.Struct):
    columns: dict[str, memoryview]
    keywords: dict[str, memoryview]


_parts = msgspec.msgpack.Decoder(_Parts)


def _unpack(view: View, data: bytes) -> None:
    """Add the messages of a block. Raises Corrupt."""
    parts = unpacked(data, _parts)
    try:
        for name, column in zip(_COLUMNS, _columns(view), strict=True):
            column.extend(_numbers(column.typecode, parts.columns[name]))
        for text, uids in parts.keywords.items():
            view.keywords.update(dict.fromkeys(_numbers("I", uids), split_keywords(text)))
    except (KeyError, ValueError) as error:
        raise Corrupt(str(error)) from error


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _numbers(code: str, data: memoryview) -> array[int]:
    column: array[int] = array(code)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _take_changed(view: View, rows: Sequence[tuple[int, int, int, str]]) -> None:
    for uid, bits, modseq, text in rows:
        at = bisect_left(view.uids, uid)
        if at == len(view.uids) or view.uids[at] != uid:
            continue
        view.flags[at], view.modseqs[at] = bits, modseq
        if text:
            view.keywords[uid] = split_keywords(text)
        else:
            view.keywords.pop(uid, None)


def _take_vanished(view: View, uids: Sequence[int]) -> None:
    gone = set(uids)
    places = [at for at in (bisect_left(view.uids, uid) for uid in sorted(gone)) if at < len(view.uids)]
    places = [at for at in dict.fromkeys(places) if view.uids[at] in gone]
    if not places:
        return
    for uid in gone:
        view.keywords.pop(uid, None)
    bounds = list(zip([0, *(at + 1 for at in places)], [*places, len(view.uids)], strict=True))
    for name, column in zip(_COLUMNS, _columns(view), strict=True):
        kept: array[int] = array(column.typecode)
        for start, stop in bounds:
            kept.extend(column[start:stop])
        setattr(view, name, kept)
