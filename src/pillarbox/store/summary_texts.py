"""What SEARCH looks through of messages, packed beside their summaries: no row of theirs is read for it.

For each message of a summary its subject and addresses as keys of i;unicode-casemap, and the day that Date names. That
never changes while the summary lives, and goes with it. It is derived too: a job makes it of the rows (`due`, `put`),
and those that have none are looked through by their rows (`of_rows`), which say the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pillarbox.mime import envelope_reader
from pillarbox.mime.casemap import casemap
from pillarbox.mime.subject import MAX_SUBJECT
from pillarbox.store import summaries
from pillarbox.store.errors import Corrupt
from pillarbox.store.packing import packed, unpacked
from pillarbox.store.summaries import SHORT
from pillarbox.store.tx import Tx

FORM = f"1 {unicodedata.unidata_version}"  # keys are made by the tables of Unicode that come with Python
ADDRESSES = ("from", "to", "cc", "bcc")
TEXTS = ("subject", *ADDRESSES)
NAMES = (*TEXTS, "sent")
BETWEEN = "\n"  # stands between two addresses of a field
NO_DAY = 1 << 62  # of a message whose Date names none: after all days
LONG = 4096  # characters of a text that is kept; a longer one is read from its message

_BATCH = 2  # made in one visit of a reader's thread
_LEVEL = 3

Values = Sequence[Any]
"""Of so many messages: texts, or days (int); None where only the message itself can tell."""

_DUE = (
    "SELECT s.id FROM summaries s WHERE s.form = ? AND NOT EXISTS (SELECT 1 FROM summary_texts t "
    f"WHERE t.summary_id = s.id AND t.form = ?) LIMIT {_BATCH}"
)
_IDS = "SELECT ids FROM summaries WHERE id = ?"
_PUT = (
    "INSERT INTO summary_texts (summary_id, form, texts) SELECT id, ?, ? FROM summaries WHERE id = ? "
    "ON CONFLICT (summary_id) DO UPDATE SET form = excluded.form, texts = excluded.texts"
)
_READ = (
    "SELECT s.ids, t.texts FROM summary_texts t JOIN summaries s ON s.id = t.summary_id "
    "WHERE t.summary_id = ? AND t.form = ?"
)
# The header of a row says how long a value is, so a long one is not read.
_ENVELOPE = f"CASE WHEN length(b.envelope) <= {SHORT} THEN b.envelope END"
_ROWS = "SELECT m.id, b.subject, {} FROM messages m JOIN blobs b ON b.id = m.blob_id WHERE "


class Texts(NamedTuple):
    """Those of a summary that are to be written, for `put`."""

    summary_id: int
    packed: bytes


def of_rows(tx: Tx, ids: Sequence[int], names: Sequence[str]) -> dict[str, Values]:
    """For each of `names` (of NAMES) the values of the messages with these row ids, by their rows.

    None for a message that has gone, too. A scan.
    """
    condition, values = tx.among("m.id", ids)
    envelope = "NULL" if set(names) <= {"subject"} else _ENVELOPE
    found = {row[0]: row[1:] for row in tx.rows(_ROWS.format(envelope) + condition, (values,))}
    columns: dict[str, list[Any]] = {name: [] for name in names}
    fields = [name for name in names if name in ADDRESSES]
    for row_id in ids:
        subject, envelope = found.get(row_id, (None, None))
        told: dict[str, Any] = {}
        if subject is not None and len(subject) < MAX_SUBJECT:
            told["subject"] = _kept(subject)
        if envelope is not None:
            day = envelope_reader.sent_day(envelope)
            told["sent"] = NO_DAY if day is None else day
            if fields:
                shown = envelope_reader.shown(envelope, fields)
                told |= {name: _kept(BETWEEN.join(values)) for name, values in shown.items()}
        for name, column in columns.items():
            column.append(told.get(name))
    return dict(columns)


def _kept(text: str) -> str | None:
    key = casemap(text)
    return key if len(key) <= LONG else None


def read(tx: Tx, summary_id: int, names: Sequence[str]) -> tuple[list[int], dict[str, Values]] | None:
    """Row ids of a summary, and for each of these `names` a value for each of them. A scan.

    None when there are none (yet). Raises Corrupt.
    """
    row = tx.row(_READ, (summary_id, FORM))
    if row is None:
        return None
    ids, kept = unpacked(row[0], _ids), _decoded(row[1], _by_name)
    if not kept:
        return None
    found: dict[str, Values] = {name: unpacked(kept[name], _days if name == "sent" else _texts) for name in names}
    if any(len(column) != len(ids) for column in found.values()):
        raise Corrupt("texts and summary are not of one length")
    return ids, found


def due(tx: Tx) -> list[Texts]:
    """Some of those that are to be written. A scan."""
    return [Texts(row[0], _made(tx, row[0])) for row in tx.rows(_DUE, (summaries.FORM, FORM))]


def _made(tx: Tx, summary_id: int) -> bytes:
    row = tx.row(_IDS, (summary_id,))
    try:
        ids = unpacked(row[0], _ids) if row is not None else []
    except Corrupt:
        ids = []  # `pillarbox check` tells of it, and it goes when it is tidied
    columns: Mapping[str, Values] = of_rows(tx, ids, NAMES) if ids else {}
    return msgspec.msgpack.encode({name: packed(column, _LEVEL) for name, column in columns.items()})


def put(tx: Tx, one: Texts) -> int:
    """Write them, unless the summary has gone."""
    tx.run(_PUT, (FORM, one.packed, one.summary_id))
    return 1


def wrong(tx: Tx) -> list[str]:
    """Texts that are not those of the rows."""
    problems = []
    for (summary_id,) in tx.rows("SELECT summary_id FROM summary_texts WHERE form = ? ORDER BY summary_id", (FORM,)):
        try:
            stored = read(tx, summary_id, NAMES)
        except Corrupt as error:
            problems.append(f"The texts of summary {summary_id} are damaged: {error}.")
            continue
        if stored is None:
            continue
        ids, told = stored
        true = of_rows(tx, ids, NAMES)
        if any(
            value is not None and kept is not None and value != kept
            for name in NAMES
            for kept, value in zip(told[name], true[name], strict=True)
        ):
            problems.append(f"The texts of summary {summary_id} are not those of its messages.")
    return problems


_ids = msgspec.msgpack.Decoder(list[int])
_texts: msgspec.msgpack.Decoder[Values] = msgspec.msgpack.Decoder(list[str | None])
_days: msgspec.msgpack.Decoder[Values] = msgspec.msgpack.Decoder(list[int | None])
_by_name = msgspec.msgpack.Decoder(dict[str, bytes])


def _decoded(data: bytes, decoder: msgspec.msgpack.Decoder[dict[str, bytes]]) -> dict[str, bytes]:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise Corrupt(str(error)) from error
