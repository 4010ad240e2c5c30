"""What lists of messages show, kept packed: listing a mailbox reads one row for a few hundred messages.

A summary has up to SPAN messages of a mailbox in a row, by ascending UID: their row ids, which never belong to another
message, and for each what it shows of its header, its BODYSTRUCTURE and its ENVELOPE, each kind compressed by itself.
All of that never changes while a row id lives. Who reads looks up row ids, so what was expunged is passed over and what
is not in a summary is read from its rows. Summaries are derived and may be removed at any time.

A job writes those of messages that have come (`due`, `put`): what it takes to make one is done in a reader's thread.
Another one takes out what was expunged (`thinned`, `tidy`), at the latest after a day, and joins what has become small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from pillarbox.mime.header import LISTED, select_fields
from pillarbox.store.errors import Corrupt
from pillarbox.store.packing import packed, unpacked
from pillarbox.store.tx import Row, Tx

SPAN = 256  # messages of a summary at most
LEAST = 32  # messages that wait for one; the last one of a mailbox grows by them
OCTETS = 512 * 1024  # of what is in one, after which it ends earlier: who reads it has all of that in memory
FORM = 2  # of what is in one; also another set of header fields (`mime.header.LISTED`) is another form
SHORT = 8192  # octets of a value that is kept; a longer one is read from its row
KINDS = ("header", "bodystructure", "envelope")

_BATCH = 8  # summaries made in one visit of a reader's thread
_LEVEL = 3

Column = Sequence[bytes | None]

# The header of a row says how long a value is, so a long one is not read.
_VALUES = ", ".join(
    f"CASE WHEN length(b.{name}) <= {SHORT} THEN b.{name} END" for name in ("bodystructure", "envelope")
)
_ROWS = (
    f"SELECT m.uid, m.id, m.prefix, b.listed, {_VALUES} FROM messages m JOIN blobs b ON b.id = m.blob_id "
    "WHERE m.mailbox_id = ? AND m.uid > ? ORDER BY m.uid LIMIT ?"
)
_GROWN = (
    "SELECT id, reached FROM (SELECT id, uidnext, coalesce((SELECT max(last_uid) FROM summaries "
    "WHERE mailbox_id = mailboxes.id AND form = ?), 0) AS reached FROM mailboxes "
    "WHERE deleted_at IS NULL AND message_count >= ?) AS known WHERE uidnext - reached > ? ORDER BY id"
)
_UIDS = "SELECT count(*) FROM (SELECT 1 FROM messages WHERE mailbox_id = ? AND uid > ? LIMIT ?) AS waiting"
_INSERT = (
    f"INSERT INTO summaries (mailbox_id, form, first_uid, last_uid, messages, ids, {', '.join(KINDS)}) "
    "SELECT id, ?, ?, ?, ?, ?, ?, ?, ? FROM mailboxes WHERE id = ? AND NOT EXISTS (SELECT 1 FROM summaries "
    "WHERE mailbox_id = mailboxes.id AND form = ? AND last_uid >= ? AND first_uid <= ?)"
)
_PLACES = (
    "SELECT id, first_uid, last_uid, messages FROM summaries "
    "WHERE mailbox_id = ? AND form = ? AND last_uid >= ? AND first_uid <= ? ORDER BY last_uid"
)
_THINNED = (
    "SELECT s.id FROM summaries s JOIN mailboxes b ON b.id = s.mailbox_id WHERE b.deleted_at IS NULL AND (s.form < ? "
    "OR s.form = ? AND s.messages > (SELECT count(*) FROM messages m "
    "WHERE m.mailbox_id = s.mailbox_id AND m.uid >= s.first_uid AND m.uid <= s.last_uid)) "
    "ORDER BY s.mailbox_id, s.last_uid"
)
_WHOLE = (
    "SELECT mailbox_id, form, first_uid, last_uid, ids, header, bodystructure, envelope FROM summaries WHERE id = ?"
)
_PREVIOUS = (
    "SELECT id, messages FROM summaries WHERE mailbox_id = ? AND form = ? AND last_uid < ? "
    "ORDER BY last_uid DESC LIMIT 1"
)
_NEXT = (
    "SELECT id, messages FROM summaries WHERE mailbox_id = ? AND form = ? AND last_uid > ? ORDER BY last_uid LIMIT 1"
)


class Place(NamedTuple):
    """Where a summary stands: its messages have UIDs from `first` to `last`, not all that are there between them."""

    id: int
    first: int
    last: int
    messages: int


class Summary(NamedTuple):
    """One that is to be written, for `put`. `columns`: row ids, then the KINDS, packed."""

    mailbox_id: int
    first: int
    last: int
    messages: int
    columns: tuple[bytes, ...]


def places(tx: Tx, mailbox_id: int, first: int, last: int) -> list[Place]:
    """The summaries of a mailbox that have messages between two UIDs, in their order."""
    return [Place(*row) for row in tx.rows(_PLACES, (mailbox_id, FORM, first, last))]


def read(tx: Tx, summary_id: int, kinds: Sequence[str]) -> tuple[list[int], list[Column]] | None:
    """Row ids, and for each of these `kinds` a value for each of them: None where only the row has it.

    None when the summary has gone. Raises Corrupt.
    """
    row = tx.row(f"SELECT {' + '.join(f'length({kind})' for kind in kinds)} FROM summaries WHERE id = ?", (summary_id,))
    if row is None:
        return None
    tx.heavy(octets=row[0])
    row = tx.row(f"SELECT ids, {', '.join(kinds)} FROM summaries WHERE id = ?", (summary_id,))
    return None if row is None else _unpacked(row)


def due(tx: Tx) -> list[Summary]:
    """Some of those that are to be written, the last one first. A scan."""
    found: list[Summary] = []
    for mailbox_id, reached in tx.rows(_GROWN, (FORM, LEAST, LEAST)):
        last = reached
        while len(found) < _BATCH:
            waiting = tx.row(_UIDS, (mailbox_id, last, LEAST))
            if waiting is None or waiting[0] < LEAST:
                break
            rows = _fitting(tx.rows(_ROWS, (mailbox_id, last, SPAN)))
            if not rows:
                break
            last = rows[-1][0]
            found.append(_summary(mailbox_id, rows[0][0], last, *_values(rows)))
    return found[::-1]


def put(tx: Tx, one: Summary) -> int:
    """Write it, unless its mailbox has gone or somebody else was faster; joined with the one before when both together
    are small."""
    if _write(tx, one):
        before = tx.row(_PREVIOUS, (one.mailbox_id, FORM, one.first))
        if before is not None and before[1] + one.messages <= SPAN:
            tidy(tx, before[0])
    return 1


def _write(tx: Tx, one: Summary) -> int:
    return tx.run(
        _INSERT,
        (FORM, one.first, one.last, one.messages, *one.columns, one.mailbox_id, FORM, one.first, one.last),
    )


def thinned(tx: Tx) -> list[int]:
    """For `tidy`, in the order of mailboxes and UIDs, to be done from the last one on: summaries with messages that are
    not there any more, and those of an older form. A scan."""
    return [row[0] for row in tx.rows(_THINNED, (FORM, FORM))]


def tidy(tx: Tx, summary_id: int) -> int:
    """Take out what is not there any more; the next one is brought in when both together are small. One of an older
    form goes: `due` makes it anew."""
    row = tx.row(_WHOLE, (summary_id,))
    if row is None:
        return 1
    mailbox_id, form, first, last, *stored = row
    tx.run("DELETE FROM summaries WHERE id = ?", (summary_id,))
    if form != FORM:
        return 1
    try:
        ids, columns = _living(tx, mailbox_id, stored)
        follower = tx.row(_NEXT, (mailbox_id, FORM, last))
        if follower is not None and len(ids) + follower[1] <= SPAN:
            _, _, _, its_last, *stored = tx.row(_WHOLE, (follower[0],)) or ()
            more, its = _living(tx, mailbox_id, stored)
            joined: list[Column] = [[*column, *other] for column, other in zip(columns, its, strict=True)]
            if _octets(joined) <= OCTETS:
                tx.run("DELETE FROM summaries WHERE id = ?", (follower[0],))
                last, ids, columns = its_last, ids + more, joined
    except Corrupt:
        return 1  # its messages are read from their rows
    if ids:
        _write(tx, _summary(mailbox_id, first, last, ids, columns))
    return 1


def renew(tx: Tx, summary_id: int) -> None:
    """The rows of its messages say more than they did when it was made (`unlisted`)."""
    row = tx.row("SELECT mailbox_id, first_uid, last_uid FROM summaries WHERE id = ?", (summary_id,))
    if row is None:
        return
    mailbox_id, first, last = row
    tx.run("DELETE FROM summaries WHERE id = ?", (summary_id,))
    rows = [one for one in tx.rows(_ROWS, (mailbox_id, first - 1, SPAN)) if one[0] <= last]
    while rows:
        some = _fitting(rows)
        _write(tx, _summary(mailbox_id, some[0][0], some[-1][0], *_values(some)))
        rows = rows[len(some) :]


def wrong(tx: Tx) -> list[str]:
    """Summaries that tell something else than the rows do."""
    problems = []
    for (summary_id,) in tx.rows("SELECT id FROM summaries WHERE form = ? ORDER BY id", (FORM,)):
        row = tx.row(_WHOLE, (summary_id,))
        if row is None:
            continue
        mailbox_id, _, first, last, *stored = row
        try:
            ids, columns = _unpacked(stored)
        except Corrupt as error:
            problems.append(f"Summary {summary_id} of mailbox {mailbox_id} is damaged: {error}.")
            continue
        rows = [row for row in tx.rows(_ROWS, (mailbox_id, first - 1, len(ids))) if row[0] <= last]
        told, true = _by_id(ids, columns), _by_id(*_values(rows))
        if any(told.get(row_id, values) != values for row_id, values in true.items()):
            problems.append(f"Summary {summary_id} of mailbox {mailbox_id} is not what the rows of its messages say.")
    return problems


def _by_id(ids: Sequence[int], columns: Sequence[Column]) -> dict[int, tuple[bytes | None, ...]]:
    return dict(zip(ids, zip(*columns, strict=True), strict=True))


def _fitting(rows: list[Row]) -> list[Row]:
    """As many of the rows as a summary has."""
    octets = 0
    for at, row in enumerate(rows):
        octets += _octets([row[2:]])
        if octets > OCTETS:
            return rows[: at + 1]
    return rows


def _octets(columns: Sequence[Column]) -> int:
    return sum(len(value) for column in columns for value in column if value is not None)


def _values(rows: Sequence[Row]) -> tuple[list[int], list[Column]]:
    """Row ids and the KINDS, of rows as _ROWS gives them."""
    if not rows:
        return [], [[] for _ in KINDS]
    _, ids, prefixes, listed, *others = zip(*rows, strict=True)
    return list(ids), [
        [shown(*both) for both in zip(prefixes, listed, strict=True)],
        *(list(other) for other in others),
    ]


def shown(prefix: bytes, listed: bytes | None) -> bytes | None:
    """The fields of LISTED of a message, in their order, complete lines; None when they are many."""
    if listed is None or len(listed) > SHORT:
        return None
    return select_fields(prefix, LISTED)[:-2] + listed if prefix else listed


def _living(tx: Tx, mailbox_id: int, stored: Sequence[bytes]) -> tuple[list[int], list[Column]]:
    """What of a summary is still in its mailbox. Raises Corrupt."""
    ids, columns = _unpacked(stored)
    condition, values = tx.among("id", ids)
    rows = tx.rows(f"SELECT id FROM messages WHERE {condition} AND +mailbox_id = ?", (values, mailbox_id))
    here = {row[0] for row in rows}
    if len(here) == len(ids):
        return ids, columns
    kept = [at for at, row_id in enumerate(ids) if row_id in here]
    return [ids[at] for at in kept], [[column[at] for at in kept] for column in columns]


def _summary(mailbox_id: int, first: int, last: int, ids: Sequence[int], columns: Sequence[Column]) -> Summary:
    return Summary(mailbox_id, first, last, len(ids), tuple(packed(part, _LEVEL) for part in (ids, *columns)))


_ids = msgspec.msgpack.Decoder(list[int])
_column: msgspec.msgpack.Decoder[Column] = msgspec.msgpack.Decoder(list[bytes | None])


def _unpacked(stored: Sequence[Any]) -> tuple[list[int], list[Column]]:
    """Row ids and columns of as many values. Raises Corrupt."""
    ids = unpacked(stored[0], _ids)
    columns: list[Column] = [unpacked(data, _column) for data in stored[1:]]
    if any(len(column) != len(ids) for column in columns):
        raise Corrupt("its columns are not of one length")
    return ids, columns
