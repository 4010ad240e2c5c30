"""Reads in threads: at most two at a time, each in one transaction of its own connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import Empty, LifoQueue
from typing import Any, TypeVar

import apsw

from pillarbox.cores import Pool
from pillarbox.store.sqlite_connection import connect, translated
from pillarbox.store.sqlite_tx import SqliteTx

THREADS = 2

T = TypeVar("T")


class Readers:
    """Connections are opened when they are first needed."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._path = path
        self._loop = loop
        self._clock = clock
        self._idle: LifoQueue[apsw.Connection] = LifoQueue()
        self._pool = Pool(THREADS, "store-reader")

    def submit(self, fn: Callable[..., T], args: tuple[Any, ...], kw: dict[str, Any]) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._pool, self._scan, fn, args, kw)

    def _scan(self, fn: Callable[..., T], args: tuple[Any, ...], kw: dict[str, Any]) -> T:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = connect(self._path, "reader")
        try:
            connection.execute("BEGIN")  # deferred: the first read takes the snapshot
            try:
                return fn(SqliteTx(connection, int(self._clock())), *args, **kw)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise translated(error) from error
        except StopIteration as error:  # no future can carry it (PEP 479)
            raise RuntimeError("a store function raised StopIteration") from error
        finally:
            self._idle.put(connection)

    async def close(self) -> None:
        """Finish what was asked for, then close the connections."""
        await self._loop.run_in_executor(None, self._pool.shutdown)
        while not self._idle.empty():
            self._idle.get_nowait().close()
