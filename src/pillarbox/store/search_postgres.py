"""The search index on PostgreSQL: words of each blob as tsvectors beside the blobs, found by GIN.

The words are made here as for SQLite (`mime.words`), PostgreSQL's own dictionaries are not asked. Positions are not
kept (they end at 16383), so of a phrase the index says only where all its words are: those messages are to be looked
at. A message with too many different words for a tsvector has none and is always looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.store.search_index import VERSION, Document, Found, Sought, Status, bounded, read_document
from pillarbox.store.tx import Tx

if TYPE_CHECKING:
    from pillarbox.store.store import Store

LONGEST_VECTOR = 900_000  # octets; PostgreSQL takes 1 MB
_SLACK = 1000  # ids: transactions become visible in another order than their ids

_HOLD = (
    "SELECT m.id FROM messages m JOIN search_texts s ON s.blob_id = m.blob_id "
    "WHERE m.mailbox_id = ? AND s.version = ? AND "
)
_UNKNOWN = (
    "SELECT m.id FROM messages m LEFT JOIN search_texts s ON s.blob_id = m.blob_id AND s.version = ? "
    "WHERE m.mailbox_id = ? AND s.header IS NULL"
)
_WAITING = (
    "FROM blobs b LEFT JOIN search_texts s ON s.blob_id = b.id AND s.version = ? "
    "WHERE b.complete = 1 AND s.blob_id IS NULL AND b.id > ?"
)
_SAVE = (
    "INSERT INTO search_texts (blob_id, version, header, body) "
    "SELECT id, ?, ?::tsvector, ?::tsvector FROM blobs WHERE id = ? "
    "ON CONFLICT (blob_id) DO UPDATE SET version = excluded.version, header = excluded.header, body = excluded.body"
)


class PostgresSearch:
    """The index is in the database itself; this holds only how far this process has fed it."""

    def __init__(self) -> None:
        self._reached = 0

    def find(self, tx: Tx, mailbox_id: int, sought: Sequence[Sought]) -> Found | None:
        unknown = {row[0] for row in tx.rows(_UNKNOWN, (VERSION, mailbox_id))}
        found = Found([], [])
        for one in sought:
            words = one.words.split(" ")
            query = " & ".join(f"'{word}'" for word in words) + ":*"
            where, values = ("s.body @@ ?::tsquery", (query,)) if not one.header else (_EITHER, (query, query))
            hits = {row[0] for row in tx.rows(_HOLD + where, (mailbox_id, VERSION, *values))}
            found.sure.append(hits if len(words) == 1 else set())
            found.unknown.append(unknown if len(words) == 1 else unknown | hits)
        return found

    async def feed(self, store: Store) -> int:
        blob_ids, documents = await store.scan(self._read)
        if blob_ids:
            await store.write(_save, blob_ids, documents)
        return len(blob_ids)

    async def sweep(self, store: Store) -> int:
        return 0  # words go with their blob

    async def rebuild(self, store: Store) -> None:
        await store.write(lambda tx: tx.run("DELETE FROM search_texts"))
        self._reached = 0

    async def behind(self, store: Store) -> bool:
        return await store.scan(
            lambda tx: tx.row(f"SELECT 1 {_WAITING} LIMIT 1", (VERSION, self._from(tx))) is not None
        )

    async def status(self, store: Store) -> Status:
        return await store.scan(_status)

    def close(self) -> None:
        """Nothing is open."""

    def _from(self, tx: Tx) -> int:
        """Below this id nothing waits."""
        (unfinished,) = tx.row("SELECT min(id) FROM blobs WHERE complete = 0") or (None,)
        start = self._reached - _SLACK
        return max(0, start if unfinished is None else min(start, unfinished - 1))

    def _read(self, tx: Tx) -> tuple[list[int], list[Document]]:
        start = self._from(tx)
        rows = tx.rows(f"SELECT b.id, b.size {_WAITING} ORDER BY b.id LIMIT 200", (VERSION, start))
        blob_ids = list(bounded([(row[0], row[1]) for row in rows]))
        if blob_ids:
            self._reached = max(self._reached, blob_ids[-1])
        return blob_ids, [document for one in blob_ids if (document := read_document(tx, one)) is not None]


_EITHER = "(s.body @@ ?::tsquery OR s.header @@ ?::tsquery)"


def _save(tx: Tx, blob_ids: Sequence[int], documents: Sequence[Document]) -> None:
    made = {document.blob_id: (_vector(document.header), _vector(document.body)) for document in documents}
    for blob_id in blob_ids:
        header, body = made.get(blob_id, (None, None))
        if header is None or body is None:
            header = body = None
        tx.run(_SAVE, (VERSION, header, body, blob_id))


def _vector(words: str) -> str | None:
    vector = " ".join(f"'{word}'" for word in sorted(set(words.split())))
    return vector if len(vector.encode()) <= LONGEST_VECTOR else None


def _status(tx: Tx) -> Status:
    (indexed,) = tx.row("SELECT count(*) FROM search_texts WHERE version = ? AND header IS NOT NULL", (VERSION,)) or (
        0,
    )
    (waiting,) = tx.row(f"SELECT count(*) {_WAITING}", (VERSION, 0)) or (0,)
    return Status(indexed, waiting)
