"""The store on PostgreSQL (psycopg 3 in threads; nobody imports this unless a `postgresql://` address is given).

Every function is a transaction of its own, run again after a deadlock or a serialization failure; PostgreSQL groups the
commits itself. Accounts are locked before their mailboxes and in ascending order, so that modification numbers become
visible in their order.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, LifoQueue
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg import IsolationLevel

from pillarbox.cores import Pool
from pillarbox.store.check import check
from pillarbox.store.errors import Away, Busy, Closed, Full, IoFault, StoreError
from pillarbox.store.migration import Applied, downgrade, upgrade, version_of
from pillarbox.store.postgres_open import have_alone, say_open
from pillarbox.store.postgres_outage import Outage
from pillarbox.store.postgres_tx import Again, PostgresTx, connect, translated
from pillarbox.store.search_postgres import PostgresSearch
from pillarbox.store.store import Store
from pillarbox.store.tx import Row, Touched

log = structlog.get_logger()

WRITERS = 4  # connections and threads that write, at most
READERS = 2
ATTEMPTS = 10  # at one function, when PostgreSQL asks to begin again
APART = 0.01  # seconds, at most, before the second attempt; twice as many before each one after it
FAR_APART = 0.5  # ... and never more
PATIENCE = 5.0  # seconds for another thread's connection, when the server gives no more of them
LOOK = 0.05  # seconds between two looks whether there are any

_MIGRATION_LOCK = 0x50426F78  # pg_advisory_xact_lock: one process at a time changes the schema

T = TypeVar("T")


def migrate_postgres(url: str, *, clock: Callable[[], float] = time.time) -> list[Applied]:
    """Apply what is missing of the schema. Safe in several processes at once. Raises StoreError."""
    with connect(url) as connection:
        require_utf8(connection)
        tx = PostgresTx(connection, int(clock()))
        lock_schema(tx)
        applied = upgrade(tx)
        if tx.row("SELECT 1 FROM store_meta WHERE key = 'id'") is None:
            tx.many(
                "INSERT INTO store_meta (key, value) VALUES (?, ?)",
                [("id", secrets.token_hex(16)), ("jmap_epoch", secrets.token_hex(8)), ("created_at", str(tx.now))],
            )
    for version, name in applied:
        log.info("Schema migration applied", version=version, name=name)
    return applied


def require_utf8(connection: psycopg.Connection[Row]) -> None:
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        raise StoreError(
            f"the database has the encoding {encoding}, in which not every text can be kept; make it anew with UTF8"
        )


def lock_schema(tx: PostgresTx) -> None:
    tx.run("SET LOCAL lock_timeout = 0")  # another one's steps may take their time
    tx.rows("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))


def rollback_postgres(url: str, to_version: int, *, clock: Callable[[], float] = time.time) -> list[Applied]:
    """Take the schema back to `to_version`. Raises InUse while a server runs, StoreError."""
    with connect(url) as connection:
        have_alone(connection)
        tx = PostgresTx(connection, int(clock()))
        lock_schema(tx)
        return downgrade(tx, to_version)


def version_of_postgres(url: str) -> int:
    """The newest step of the schema, 0 for none. Raises StoreError."""
    with connect(url) as connection:
        return version_of(PostgresTx(connection, 0))


def check_postgres(url: str) -> list[str]:
    """What is wrong with a store, all as of one moment. Raises StoreError."""
    with connect(url) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        tx = PostgresTx(connection, 0)
        return check(tx) if version_of(tx) else ["The database has no schema of a store."]


class PostgresStore(Store):
    """Threads: up to four that write and two that read, each with a connection while it works."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        outage = Outage()
        self._writers = _Lane(url, WRITERS, outage, read_only=False)
        self._readers = _Lane(url, READERS, outage, read_only=True)
        self._closed = False
        self.search = PostgresSearch()
        self._looking: asyncio.Future[None] | None = None

    def write(self, fn: Callable[..., T], *args: Any, size: int = 0, **kw: Any) -> asyncio.Future[T]:
        return self._loop.create_task(self._write(fn, args, kw))

    async def _write(self, fn: Callable[..., T], args: tuple[Any, ...], kw: dict[str, Any]) -> T:
        self._must_be_open()
        work = self._loop.run_in_executor(self._writers.pool, self._writers.run, self._clock, fn, args, kw)
        value, touched = await work
        if touched:
            self._announce(frozenset(touched))
        return value

    async def read(self, fn: Callable[..., T], *args: Any, **kw: Any) -> T:
        return await self._scan(fn, args, kw)

    def peek(self, fn: Callable[..., T], *args: Any, **kw: Any) -> T:
        raise Busy("PostgreSQL is only asked in a thread")

    def scan(self, fn: Callable[..., T], *args: Any, **kw: Any) -> asyncio.Future[T]:
        return self._loop.create_task(self._scan(fn, args, kw))

    async def _scan(self, fn: Callable[..., T], args: tuple[Any, ...], kw: dict[str, Any]) -> T:
        self._must_be_open()
        work = self._loop.run_in_executor(self._readers.pool, self._readers.run, self._clock, fn, args, kw)
        value, _ = await work
        return value

    async def check(self) -> list[str]:
        return await self.scan(check)

    def notice_changes(self, watched: Iterable[int]) -> frozenset[Touched]:
        """Looks in a thread: what it finds is told to the callbacks later, nothing is returned."""
        if not self._closed and (self._looking is None or self._looking.done()):
            self._looking = self._loop.create_task(self._look(list(watched)))
        return frozenset()

    async def _look(self, watched: list[int]) -> None:
        try:
            self._tell(self._watchers, await self._scan(self._news, (watched,), {}))
        except Away:
            pass
        except (Busy, IoFault, Closed) as error:
            log.warning("Looking for changes failed", error=str(error))

    async def close(self) -> None:
        self._closed = True
        if self._looking is not None:
            await self._looking
        for lane in (self._readers, self._writers):
            await self._loop.run_in_executor(None, lane.close)

    def _must_be_open(self) -> None:
        if self._closed:
            raise Closed("the store is closed")


class _Lane:
    """Threads and connections for one kind of work. Connections are opened when needed and dropped when broken."""

    def __init__(self, url: str, threads: int, outage: Outage, *, read_only: bool) -> None:
        self._url = url
        self._outage = outage
        self._read_only = read_only
        self._idle: LifoQueue[psycopg.Connection[Row]] = LifoQueue()
        self._open = 0  # connections, idle ones too, and those that are being opened
        self._counting = threading.Lock()
        self.pool = Pool(threads, "store-pg")

    def run(
        self, clock: Callable[[], float], fn: Callable[..., T], args: tuple[Any, ...], kw: dict[str, Any]
    ) -> tuple[T, list[Touched]]:
        for attempt in range(ATTEMPTS):
            if attempt:  # whoever was in the way begins again too: both at once would meet again
                time.sleep(random.uniform(0, min(FAR_APART, APART * 2 ** (attempt - 1))))
            connection = self._connection()
            tx = PostgresTx(connection, int(clock()))
            try:
                value = fn(tx, *args, **kw)
                connection.commit()
            except Again:
                continue
            except IoFault as fault:
                if connection.closed:
                    raise self._outage.met(fault) from fault
                raise
            except StopIteration as error:  # no future can carry it (PEP 479)
                raise RuntimeError("a store function raised StopIteration") from error
            except psycopg.Error as error:  # of the commit; of statements they are translated already
                problem = translated(error)
                if isinstance(problem, Again):
                    continue
                raise self._outage.met(problem) if connection.closed else problem from error
            finally:
                self._give_back(connection)
            self._outage.well()
            return value, tx.touched
        raise Busy(f"PostgreSQL asked {ATTEMPTS} times to begin again")

    def _connection(self) -> psycopg.Connection[Row]:
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        self._count(1)
        try:
            connection = connect(self._url)
            say_open(connection)
        except (IoFault, Full) as fault:
            self._count(-1)
            return self._next_idle(fault)
        if self._read_only:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ  # a read sees one moment
            connection.read_only = True
        return connection

    def _next_idle(self, fault: StoreError) -> psycopg.Connection[Row]:
        """A server that gives no more connections has given us some: one of these will do. Raises Away when none comes
        free in time, or there is none any more."""
        end = time.monotonic() + PATIENCE
        while self._open and time.monotonic() < end:
            with suppress(Empty):
                return self._idle.get(timeout=LOOK)
        raise self._outage.met(fault) from fault

    def _count(self, more: int) -> None:
        with self._counting:
            self._open += more

    def _give_back(self, connection: psycopg.Connection[Row]) -> None:
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()
        if connection.closed:
            self._count(-1)
            self._close_idle()  # whatever ended this one has probably ended them too, and they would only fail
        else:
            self._idle.put(connection)

    def _close_idle(self) -> None:
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()
                self._count(-1)

    def close(self) -> None:
        self.pool.shutdown()
        self._close_idle()


async def open_postgres(url: str, clock: Callable[[], float] = time.time) -> PostgresStore:
    """Upgrade the schema where needed, and open it. Raises StoreError."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, lambda: migrate_postgres(url, clock=clock))
    return PostgresStore(url, clock)
