"""`pillarbox check`: every invariant of a store, and a sentence for each that is broken.

Reads everything, message bytes included, in one moment of the database. Changes nothing.
"""

from __future__ import annotations

from pillarbox.store import queue_aside, summaries, view_blocks
from pillarbox.store.blobs import unpack
from pillarbox.store.check_queries import FORMS, QUERIES, Form
from pillarbox.store.errors import Corrupt, Invalid
from pillarbox.store.tx import Row, Tx

_SOME_BLOBS = "SELECT id, size, data FROM blobs WHERE complete = 1 AND id > ? ORDER BY id LIMIT 50"

MOST = 20  # sentences of one kind, then "and N more"


def check(tx: Tx) -> list[str]:
    """What is wrong with the rows and the bytes of messages."""
    problems: list[str] = []
    for sentence, sql in QUERIES:
        _say(problems, [sentence.format(*row) for row in tx.rows(sql)])
    for sql, form, sentence in FORMS:
        _say(problems, [sentence.format(*row) for row in tx.rows(sql) if not _is_in_form(form, row)])
    _say(problems, [f"Queue row {found.queue_id}: {found}; {found.fix} mends it." for found in queue_aside.find(tx)])
    _say(problems, view_blocks.wrong(tx))
    _say(problems, summaries.wrong(tx))
    _say(problems, _blobs(tx))
    return problems


def _is_in_form(form: Form, row: Row) -> bool:
    text: str = row[0]
    try:
        return form(*row) == text
    except Invalid:
        return False


def check_file(tx: Tx) -> list[str]:
    """What SQLite itself finds wrong with its file."""
    problems: list[str] = []
    found = [row[0] for row in tx.rows("PRAGMA integrity_check(20)")]
    _say(problems, [f"SQLite: {line}." for line in found if line != "ok"])
    _say(
        problems,
        [
            f"Ids of {table} are given again: the highest is {top}, the sequence is at {at}."
            for table, top, at in _ids(tx)
        ],
    )
    broken = tx.rows("PRAGMA foreign_key_check")
    _say(
        problems,
        [f"Row {row} of {table} refers to a row of {parent} that is not there." for table, row, parent, _ in broken],
    )
    return problems


def _ids(tx: Tx) -> list[Row]:
    """Tables whose ids must never be used twice, and are about to be."""
    return tx.rows(
        "SELECT name, top, seq FROM (SELECT 'blobs' AS name, max(id) AS top FROM blobs UNION ALL "
        "SELECT 'messages', max(id) FROM (SELECT max(id) AS id FROM messages UNION ALL SELECT max(id) FROM expunged)) "
        "JOIN sqlite_sequence USING (name) WHERE top > seq"
    )


def _blobs(tx: Tx) -> list[str]:
    problems = []
    last = 0
    while rows := tx.rows(_SOME_BLOBS, (last,)):
        for blob_id, size, data in rows:
            try:
                if data is not None:
                    unpack(data, size)
                else:
                    _chunks(tx, blob_id, size)
            except Corrupt as error:
                problems.append(f"Blob {blob_id} is damaged: {error}.")
        last = rows[-1][0]
    return problems


def _chunks(tx: Tx, blob_id: int, size: int) -> None:
    end = 0
    for chunk_id, sequence, start, octets in tx.rows(
        "SELECT id, sequence, start, size FROM blob_chunks WHERE blob_id = ? ORDER BY sequence", (blob_id,)
    ):
        if start != end:
            raise Corrupt(f"chunk {sequence} begins at {start} instead of {end}")
        (piece,) = tx.row("SELECT data FROM blob_chunks WHERE id = ?", (chunk_id,)) or (b"",)
        unpack(piece, octets)
        end += octets
    if end != size:
        raise Corrupt(f"its chunks have {end} octets instead of {size}")


def _say(problems: list[str], found: list[str]) -> None:
    problems += found[:MOST]
    if len(found) > MOST:
        problems.append(f"... and {len(found) - MOST} more of that kind.")
