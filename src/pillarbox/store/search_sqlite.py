"""The search index in `search.db` beside `smtp.db`: FTS5, fed by one process, read by all.

The texts in it are words between spaces already (`mime.words`), so its tokenizer only cuts at ASCII; nothing but words
and their places is kept (`content=''`). `mark` is the greatest blob that was looked at; blobs below it that could not
be indexed then (unfinished, unreadable) are in `pending`, and those of the last minutes that only the queue has. A blob
that nothing refers to and nobody owns is passed over: what was relayed has left the queue, and no mailbox can get it
any more. An index of another store, of the same store before it went back in time, or of other rules for words is
removed and made anew; so is one that SQLite finds broken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import apsw
import structlog

from pillarbox.store.blobs import FRESH_OR_NOT, UNREFERENCED
from pillarbox.store.errors import StoreError
from pillarbox.store.files import create_database
from pillarbox.store.search_index import VERSION, Document, Found, Sought, Status, bounded, read_document, rows_of
from pillarbox.store.sqlite_connection import translated
from pillarbox.store.tx import Tx

if TYPE_CHECKING:
    from pillarbox.store.store import Store

log = structlog.get_logger()

NAME = "search.db"
UNFINISHED, UNREADABLE = 0, 1
_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value)",
    "CREATE TABLE pending (blob_id INTEGER PRIMARY KEY, state INTEGER NOT NULL)",
    "CREATE VIRTUAL TABLE texts USING fts5(header, body, content='', contentless_delete=1, tokenize='ascii')",
)
_STEP = 200  # blobs looked at in one step
_IN_MAILBOX = (
    "(EXISTS (SELECT 1 FROM messages WHERE messages.blob_id = blobs.id) "
    f"OR EXISTS (SELECT 1 FROM expunged WHERE expunged.blob_id = blobs.id AND {FRESH_OR_NOT}))"
)
# Mail on its way through is gone before anybody could search it: it has the time for that.
_PASSING = f"complete = 1 AND created_at > ? AND NOT {_IN_MAILBOX}"
_LOOK = f"SELECT id, size, complete AND NOT ({_PASSING}), owner = '' AND {UNREFERENCED} FROM blobs WHERE "
_TIME_TO_PASS = 120  # seconds
_SWEEP = 2000  # entries looked at in one step


def leave_no_log(database: str) -> None:
    """After the last process: of several that close at the same moment SQLite may take none for the last, and leaves
    `search.db-wal` and `-shm`."""
    path = _beside(database)
    if not os.path.exists(path + "-wal"):
        return
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        log.info("The log of the search index stays: %s", error)


def _beside(database: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(database)), NAME)


class SqliteSearch:
    """One process's access to the index. Each thread has a connection of its own."""

    def __init__(self, database: str) -> None:
        self.path = _beside(database)
        self._local = threading.local()
        self._open: list[apsw.Connection] = []
        self._lock = threading.Lock()
        self._swept = 0

    def find(self, tx: Tx, mailbox_id: int, sought: Sequence[Sought]) -> Found | None:
        identity = _identity(tx)
        try:
            connection = self._reader()
            if connection is None:
                return None
            connection.execute("BEGIN")
            try:
                if _meta(connection, "identity") != identity:
                    return None
                (mark,) = _ints(connection, "SELECT value FROM meta WHERE key = 'mark'")
                pending = _ints(connection, "SELECT blob_id FROM pending")
                hits = [_look_up(connection, one) for one in sought]
            finally:
                connection.execute("ROLLBACK")
        except apsw.Error as error:
            log.warning("The search index cannot be read; messages are read instead", error=str(error))
            self._forget()
            return None
        if not mark:
            return None
        unknown = _unknown(tx, mailbox_id, mark, pending)
        return Found([rows_of(tx, mailbox_id, found) for found in hits], [unknown] * len(hits))

    async def feed(self, store: Store) -> int:
        return await store.scan(self._feed)

    async def sweep(self, store: Store) -> int:
        return await store.scan(self._sweep)

    async def rebuild(self, store: Store) -> None:
        await store.scan(self._create)

    async def behind(self, store: Store) -> bool:
        return await store.scan(self._behind)

    async def status(self, store: Store) -> Status:
        return await store.scan(self._status)

    def close(self) -> None:
        """After the last reader."""
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            connection.close()
        self._local = threading.local()

    # Reading.

    def _reader(self) -> apsw.Connection | None:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is not None and getattr(self._local, "inode", None) != _inode(self.path):
            self._forget()  # it was removed and made anew
            connection = None
        if connection is None:
            inode = _inode(self.path)
            if inode is None:
                return None
            connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=20)
            connection.set_busy_timeout(5000)
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA cache_size=-8192")
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection, self._local.inode = connection, inode
            with self._lock:
                self._open.append(connection)
        return connection

    def _forget(self) -> None:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with self._lock:
                if connection in self._open:
                    self._open.remove(connection)
            connection.close()

    # Writing: one process at a time.

    def _writer(self, tx: Tx) -> apsw.Connection:
        """Raises StoreError."""
        identity = _identity(tx)
        try:
            connection = self._reader()
            if connection is not None and _meta(connection, "identity") == identity:
                return connection
        except apsw.Error as error:
            log.warning("The search index is broken and made anew", error=str(error))
            self._forget()
        return self._create(tx)

    def _create(self, tx: Tx) -> apsw.Connection:
        self._forget()
        try:
            for suffix in ("", "-wal", "-shm", "-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(self.path + suffix)
            create_database(self.path)
            connection = self._reader()
            assert connection is not None
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO texts (texts, rank) VALUES ('automerge', 8)")
            connection.execute("INSERT INTO meta VALUES ('identity', ?), ('mark', 0)", (_identity(tx),))
            connection.execute("COMMIT")
        except apsw.Error as error:
            self._forget()
            raise translated(error, self.path) from error
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        return connection

    def _feed(self, tx: Tx) -> int:
        connection = self._writer(tx)
        try:
            (mark,) = _ints(connection, "SELECT value FROM meta WHERE key = 'mark'")
            waiting = _ints(connection, "SELECT blob_id FROM pending WHERE state = ?", UNFINISHED)
            done, gone = _settled(tx, waiting)
            rows = tx.rows(f"{_LOOK} id > ? ORDER BY id LIMIT {_STEP}", (tx.now - _TIME_TO_PASS, mark))
            unfinished = [row[0] for row in rows if not row[2] and not row[3]]
            wanted = [(row[0], row[1]) for row in rows if row[2] and not row[3]]
            ids = list(bounded([*done, *wanted]))
            if not rows and not ids and not gone:
                return 0
            documents: list[Document] = []
            unreadable: list[int] = []
            for blob_id in ids:
                document = read_document(tx, blob_id)
                if document is None:
                    unreadable.append(blob_id)
                else:
                    documents.append(document)
            fresh = [blob_id for blob_id in ids if blob_id > mark]
            # As far as everything was looked at: up to the first complete blob that was left for the next step.
            left = [blob_id for blob_id, _ in wanted if blob_id > (fresh[-1] if fresh else mark)]
            reached = left[0] - 1 if left else (rows[-1][0] if rows else mark)
            _save(connection, documents, unreadable, gone, [one for one in unfinished if one <= reached], reached)
        except apsw.Error as error:
            self._forget()
            raise translated(error, self.path) from error
        return len(ids) or len(gone) or len(rows) // _STEP

    def _sweep(self, tx: Tx) -> int:
        connection = self._writer(tx)
        try:
            page = "SELECT id FROM texts_docsize WHERE id > ? ORDER BY id LIMIT ?"
            ids = _ints(connection, page, self._swept, _SWEEP)
            self._swept = ids[-1] if len(ids) == _SWEEP else 0
            condition, values = tx.among("id", ids)
            here = {row[0] for row in tx.rows(f"SELECT id FROM blobs WHERE {condition}", (values,))} if ids else set()
            gone = [(blob_id,) for blob_id in ids if blob_id not in here]
            if gone:
                with connection:
                    connection.executemany("DELETE FROM texts WHERE rowid = ?", gone)
        except apsw.Error as error:
            self._forget()
            raise translated(error, self.path) from error
        return len(gone)

    def _behind(self, tx: Tx) -> bool:
        try:
            connection = self._reader()
            if connection is None or _meta(connection, "identity") != _identity(tx):
                return True
            (mark,) = _ints(connection, "SELECT value FROM meta WHERE key = 'mark'")
            waiting = _ints(connection, "SELECT blob_id FROM pending WHERE state = ?", UNFINISHED)
        except apsw.Error:
            self._forget()
            return True
        return tx.row("SELECT 1 FROM blobs WHERE id > ? LIMIT 1", (mark,)) is not None or any(_settled(tx, waiting))

    def _status(self, tx: Tx) -> Status:
        (total,) = tx.row("SELECT count(DISTINCT blob_id) FROM messages") or (0,)
        try:
            connection = self._reader()
            if connection is None or _meta(connection, "identity") != _identity(tx):
                return Status(0, total)
            (mark,) = _ints(connection, "SELECT value FROM meta WHERE key = 'mark'")
            (indexed,) = _ints(connection, "SELECT count(*) FROM texts_docsize")
            (behind,) = tx.row("SELECT count(DISTINCT blob_id) FROM messages WHERE blob_id > ?", (mark,)) or (0,)
            (pending,) = _ints(connection, "SELECT count(*) FROM pending")
        except apsw.SQLError:  # no such table: somebody is making it
            self._forget()
            return Status(0, total)
        except apsw.Error as error:
            raise translated(error, self.path) from error
        return Status(indexed, behind + pending)


def _identity(tx: Tx) -> str:
    """Of which store, since when, by which rules."""
    rows = tx.rows("SELECT value FROM store_meta WHERE key IN ('id', 'jmap_epoch') ORDER BY key")
    return " ".join([*(row[0] for row in rows), str(VERSION)])


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _meta(connection: apsw.Connection, key: str) -> Any:
    rows = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()
    return rows[0][0] if rows else None


def _look_up(connection: apsw.Connection, one: Sought) -> set[int]:
    phrase = f'"{one.words}" *'  # words have no quotes in them
    query = phrase if one.header else f"body : {phrase}"
    return set(_ints(connection, "SELECT rowid FROM texts WHERE texts MATCH ?", query))


def _ints(connection: apsw.Connection, sql: str, *params: int | str) -> list[int]:
    """The first column of all rows."""
    return [row[0] for row in connection.execute(sql, params).fetchall()]  # type: ignore[misc]


def _unknown(tx: Tx, mailbox_id: int, mark: int, pending: list[int]) -> set[int]:
    rows = tx.rows("SELECT id FROM messages WHERE blob_id > ? AND +mailbox_id = ?", (mark, mailbox_id))
    return {row[0] for row in rows} | rows_of(tx, mailbox_id, set(pending))


def _settled(tx: Tx, waiting: list[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Of blobs that were to wait: those that are to be indexed now, with their sizes, and those that never will."""
    if not waiting:
        return [], []
    condition, values = tx.among("id", waiting)
    rows = tx.rows(f"{_LOOK} {condition} ORDER BY id", (tx.now - _TIME_TO_PASS, values))
    here = {row[0] for row in rows if not row[3]}
    return [(row[0], row[1]) for row in rows if row[2] and not row[3]], [one for one in waiting if one not in here]


def _save(
    connection: apsw.Connection,
    documents: Sequence[Document],
    unreadable: Sequence[int],
    gone: Sequence[int],
    unfinished: Sequence[int],
    mark: int,
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        settled = [(document.blob_id,) for document in documents] + [(blob_id,) for blob_id in gone]
        connection.executemany("DELETE FROM pending WHERE blob_id = ?", settled)
        connection.executemany(
            "INSERT OR REPLACE INTO texts (rowid, header, body) VALUES (?, ?, ?)",
            [(document.blob_id, document.header, document.body) for document in documents],
        )
        noted = [(blob_id, UNREADABLE) for blob_id in unreadable] + [(blob_id, UNFINISHED) for blob_id in unfinished]
        connection.executemany("INSERT OR REPLACE INTO pending (blob_id, state) VALUES (?, ?)", noted)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'mark' AND value < ?", (mark, mark))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
