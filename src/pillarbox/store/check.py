"""`pillarbox check`: every invariant of a store, and a sentence for each that is broken.

Reads everything, message bytes included, in one moment of the database. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.store import queue_aside, summaries, summary_texts, view_blocks
from pillarbox.store.blobs import unpack
from pillarbox.store.check_queries import FORMS, QUERIES, Form
from pillarbox.store.errors import Corrupt, Invalid
from pillarbox.store.tx import Row, Tx

_SOME_BLOBS = "SELECT id, size, data FROM blobs WHERE complete = 1 AND id > ? ORDER BY id LIMIT 50"

MOST = 20  # sentences of one kind, then "and N more"


class _Findings:
    """Sentences. What cannot be read because the file is damaged keeps nothing else from being looked at."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._unread = 0
        self._reason = ""

    def add(self, look: Callable[[], list[str]]) -> None:
        try:
            found = look()
        except Corrupt as error:
            self._unread += 1
            self._reason = str(error)
            return
        self.sentences += found[:MOST]
        if len(found) > MOST:
            self.sentences.append(f"... and {len(found) - MOST} more of that kind.")

    def all(self) -> list[str]:
        if not self._unread:
            return self.sentences
        return [*self.sentences, f"{self._unread} of the checks came upon what cannot be read: {self._reason}."]


def check(tx: Tx) -> list[str]:
    """What is wrong with the rows and the bytes of messages."""
    findings = _Findings()
    for sentence, sql in QUERIES:
        findings.add(lambda sentence=sentence, sql=sql: [sentence.format(*row) for row in tx.rows(sql)])  # type: ignore[misc]
    for sql, form, sentence in FORMS:
        findings.add(lambda q=(sql, form, sentence): _out_of_form(tx, *q))  # type: ignore[misc]
    findings.add(
        lambda: [f"Queue row {found.queue_id}: {found}; {found.fix} mends it." for found in queue_aside.find(tx)]
    )
    findings.add(lambda: view_blocks.wrong(tx))
    findings.add(lambda: summaries.wrong(tx))
    findings.add(lambda: summary_texts.wrong(tx))
    findings.add(lambda: _blobs(tx))
    return findings.all()


def _out_of_form(tx: Tx, sql: str, form: Form, sentence: str) -> list[str]:
    return [sentence.format(*row) for row in tx.rows(sql) if not _is_in_form(form, row)]


def _is_in_form(form: Form, row: Row) -> bool:
    text: str = row[0]
    try:
        return form(*row) == text
    except Invalid:
        return False


def check_file(tx: Tx) -> list[str]:
    """What SQLite itself finds wrong with its file."""
    findings = _Findings()
    findings.add(lambda: _integrity(tx))
    findings.add(
        lambda: [
            f"Ids of {table} are given again: the highest is {top}, the sequence is at {at}."
            for table, top, at in _ids(tx)
        ]
    )
    findings.add(lambda: orphans(tx))
    return findings.all()


def orphans(tx: Tx) -> list[str]:
    """References of an SQLite file that lead nowhere: its foreign keys are off for whoever does not ask for them."""
    return [
        f"Row {row} of {table} refers to a row of {parent} that is not there."
        for table, row, parent, _ in tx.rows("PRAGMA foreign_key_check")
    ]


def _integrity(tx: Tx) -> list[str]:
    try:
        found = tx.rows("PRAGMA integrity_check(20)")
    except Corrupt:  # it gave up after the first it found
        found = tx.rows("SELECT integrity_check FROM pragma_integrity_check LIMIT 1")
    return [f"SQLite: {' '.join(line.split())}." for (line,) in found if line != "ok"]


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
