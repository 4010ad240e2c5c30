"""Making an SQLite store ready: the file, its schema, and a look at the high-water mark.

Everything here is synchronous and leaves no connection open: `migrate` runs in a child before the workers are forked,
and `truncate_wal` in a child after the last one has ended.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable

import apsw
import structlog

from pillarbox.store import stale_log
from pillarbox.store.check import check, check_file
from pillarbox.store.check_schema import missing
from pillarbox.store.errors import Corrupt, InUse, IoFault
from pillarbox.store.files import create_database
from pillarbox.store.mark import COMMITS, UIDVALIDITY, Mark, Verdict, judge
from pillarbox.store.migration import Applied, downgrade, upgrade, version_of
from pillarbox.store.migrations import ALL
from pillarbox.store.restored import went_back_in_time
from pillarbox.store.sqlite_connection import PAGE_SIZE, connect, fetch, translated
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.tx import Tx
from pillarbox.store.write_lock import WriteLock

log = structlog.get_logger()


def migrate(path: str, *, clock: Callable[[], float] = time.time) -> list[Applied]:
    """Create the database when there is none, apply what is missing of the schema, check the mark.

    Safe to run in several processes at once. Raises StoreError.
    """
    try:
        create_database(path)
        lock = WriteLock(path)
        mark = Mark(path)
    except OSError as error:
        raise IoFault(f"{error.filename or path}: {error.strerror}") from error
    try:
        with lock:
            if lock.nobody_has_it_open() and (stale := stale_log.find(path, mark)) is not None:
                stale_log.set_aside(path, stale, int(clock()))
            connection = connect(path, "writer")
            try:
                if connection.readonly("main"):
                    raise IoFault(f"{path} cannot be written to: look at its owner, its mode and its file system")
                return _prepare(connection, mark, int(clock()))
            finally:
                connection.close()
    except apsw.Error as error:
        raise translated(error, path) from error
    except OSError as error:
        raise IoFault(f"{error.filename or path}: {error.strerror}") from error
    finally:
        mark.close()
        lock.close()


def rollback(path: str, to_version: int, *, clock: Callable[[], float] = time.time) -> list[Applied]:
    """Take the schema back to `to_version`. Raises InUse while a server runs, StoreError."""
    lock = WriteLock(path)
    try:
        with lock:
            if not lock.have_alone():
                raise InUse(path)
            connection = connect(path, "writer")
            try:
                connection.execute("PRAGMA foreign_keys=OFF")
                tx = SqliteTx(connection, int(clock()))
                tx.run("BEGIN IMMEDIATE")
                taken = downgrade(tx, to_version)
                tx.run("COMMIT")
                return taken
            finally:
                connection.close()
    finally:
        lock.close()


def version_of_sqlite(path: str) -> int:
    """The newest step of the schema, 0 for none. Raises StoreError."""
    connection = connect(path, "reader")
    try:
        return version_of(SqliteTx(connection, 0))
    finally:
        connection.close()


def check_sqlite(path: str) -> list[str]:
    """What is wrong with a database, all as of one moment. Raises StoreError."""
    if _has_stale_log(path):
        return [f"{path}-wal is the log of another database than {path}, which was put in its place: remove it."]
    try:
        connection = connect(path, "reader")
    except Corrupt as error:
        return [f"{error}."]
    try:
        tx = SqliteTx(connection, 0)
        tx.run("BEGIN")
        return _wrong(path, tx)
    except Corrupt as error:
        return [f"{path}: {error}."]
    finally:
        connection.close()


def _wrong(path: str, tx: Tx) -> list[str]:
    version, newest = version_of(tx), ALL[-1].version
    if version == 0:
        return [f"{path} is no store: it has no schema."]
    if version < newest:
        return [
            f"The schema is that of step {version}, this program's of step {newest}: "
            "the next start of the server brings it there, or `pillarbox migrate up`."
        ]
    gone = missing(tx) if version == newest else []
    if any(sentence.startswith("The table ") for sentence in gone):
        return [*check_file(tx), *gone]
    return [*check_file(tx), *gone, *check(tx)]


def _has_stale_log(path: str) -> bool:
    """Opening such a database would already spoil it."""
    if not os.path.exists(path + ".lock") or not os.path.exists(path + ".mark"):
        return False  # a copy: nothing is to be made beside it
    lock, mark = WriteLock(path), Mark(path)
    try:
        return lock.nobody_has_it_open() and stale_log.find(path, mark) is not None
    finally:
        mark.close()
        lock.close()


def truncate_wal(path: str) -> bool:
    """After the last process: bring everything into the database file and remove `-wal` and `-shm`.

    False when somebody else still has it open (then they stay). Raises StoreError.
    """
    if not os.path.exists(path):
        return True
    connection = connect(path, "writer")
    try:
        connection.set_busy_timeout(5000)
        (counter,) = fetch(connection, "SELECT value FROM store_counters WHERE id = ?", (COMMITS,))
        busy, _, _ = fetch(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            mark = Mark(path)
            mark.checkpoint(counter)
            mark.close()
    except apsw.BusyError:
        return False
    except apsw.Error as error:
        raise translated(error, path) from error
    finally:
        connection.close()
    return not os.path.exists(path + "-wal")


def _prepare(connection: apsw.Connection, mark: Mark, now: int) -> list[Applied]:
    snapshot = mark.snapshot()
    tx = SqliteTx(connection, now)
    if version_of(tx) == 0:
        # Both only count before the first page is written.
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    (mode,) = tx.row("PRAGMA journal_mode=WAL") or ("?",)
    if mode != "wal":
        raise IoFault(f"the file system of the database cannot do WAL (journal mode {mode})")
    if _is_ready(tx, snapshot):
        return []
    tx.run("BEGIN IMMEDIATE")
    try:
        applied = upgrade(tx)
        known = tx.row("SELECT value FROM store_meta WHERE key = 'id'")
        if known is None:
            # The mark first: a store that died here is founded again, one without its mark would look restored.
            mark.adopt(_found(tx, snapshot, mark.uidvalidity), *_counters(tx))
            verdict = Verdict.SAME
        else:
            verdict = judge(snapshot, known[0], _counters(tx)[0])
            if verdict is not Verdict.SAME:
                went_back_in_time(tx, mark, verdict)
        counters = _counters(tx)
        tx.run("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if known is not None and verdict is not Verdict.SAME:
        mark.adopt(known[0], *counters)
    for version, name in applied:
        log.info("Schema migration applied", version=version, name=name)
    return applied


def _is_ready(tx: SqliteTx, snapshot: tuple[bool, str, int, int]) -> bool:
    """Whether there is nothing to be written: whoever only wants to read waits for no foreign writer then."""
    tx.run("BEGIN")
    try:
        if version_of(tx) != ALL[-1].version:
            return False
        known = tx.row("SELECT value FROM store_meta WHERE key = 'id'")
        return known is not None and judge(snapshot, known[0], _counters(tx)[0]) is Verdict.SAME
    finally:
        tx.run("ROLLBACK")


def _found(tx: SqliteTx, snapshot: tuple[bool, str, int, int], marked_uidvalidity: int) -> str:
    """A new store; its id. With a mark left of an older one it starts above it."""
    store_id = secrets.token_hex(16)
    tx.many(
        "INSERT INTO store_meta (key, value) VALUES (?, ?)",
        [("id", store_id), ("jmap_epoch", secrets.token_hex(8)), ("created_at", str(tx.now))],
    )
    _, _, committed, reserved = snapshot
    tx.run("UPDATE store_counters SET value = ? WHERE id = ?", (max(committed, reserved), COMMITS))
    tx.run("UPDATE store_counters SET value = ? WHERE id = ?", (marked_uidvalidity, UIDVALIDITY))
    return store_id


def _counters(tx: SqliteTx) -> tuple[int, int]:
    """Commits and the greatest UIDVALIDITY, as the database says."""
    commits, uidvalidity = (
        (tx.row("SELECT value FROM store_counters WHERE id = ?", (number,)) or (0,))[0]
        for number in (COMMITS, UIDVALIDITY)
    )
    return commits, uidvalidity
