"""The store on one SQLite file: who runs what on which connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import apsw

from pillarbox.store.check import check, check_file
from pillarbox.store.errors import Busy, Closed
from pillarbox.store.mark import Mark
from pillarbox.store.search_sqlite import SqliteSearch
from pillarbox.store.sqlite_checkpoint import Checkpointer
from pillarbox.store.sqlite_connection import connect, translated
from pillarbox.store.sqlite_readers import Readers
from pillarbox.store.sqlite_setup import migrate
from pillarbox.store.sqlite_tx import Elsewhere, InlineTx
from pillarbox.store.sqlite_writer import Writer
from pillarbox.store.store import Store
from pillarbox.store.tx import Touched

T = TypeVar("T")


class SqliteStore(Store):
    """Threads: one writer, one checkpointer, up to two readers (started when needed)."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.path = path
        self._clock = clock
        self._inline: apsw.Connection | None = connect(path, "inline")
        self._inline_tx = InlineTx(self._inline, int(clock()))
        self._data_version = -1
        self._mark = Mark(path)
        self._writer = Writer(path, self._mark, loop, clock, self._announce, self._grouped)
        self._readers = Readers(path, loop, clock)
        self._checkpointer = Checkpointer(path, self._mark)
        self.search = SqliteSearch(path)

    def write(self, fn: Callable[..., T], *args: Any, size: int = 0, **kw: Any) -> asyncio.Future[T]:
        return self._writer.submit(fn, args, kw, size)

    async def read(self, fn: Callable[..., T], *args: Any, **kw: Any) -> T:
        try:
            return self._read_here(fn, args, kw)
        except (Elsewhere, Busy):
            return await self._readers.submit(fn, args, kw)

    def peek(self, fn: Callable[..., T], *args: Any, **kw: Any) -> T:
        try:
            return self._read_here(fn, args, kw)
        except Elsewhere:
            raise Busy("too much for the event loop") from None

    def scan(self, fn: Callable[..., T], *args: Any, **kw: Any) -> asyncio.Future[T]:
        if self._inline is None:
            raise Closed("the store is closed")
        return self._readers.submit(fn, args, kw)

    async def check(self) -> list[str]:
        return [*await self.scan(check_file), *await self.scan(check)]

    def notice_changes(self, watched: Iterable[int]) -> frozenset[Touched]:
        if self._inline is None:
            return frozenset()
        try:
            version = self._inline_tx.pragma("data_version")
            if version == self._data_version:
                return frozenset()
            touched = self._news(self._inline_tx, list(watched))
        except (apsw.BusyError, Busy):
            return frozenset()  # the next look will see it
        except apsw.Error as error:
            raise translated(error) from error
        self._data_version = version
        self._tell(self._watchers, touched)
        return touched

    async def close(self) -> None:
        """Readers first, then the writer: who closes last brings the log into the file."""
        inline, self._inline = self._inline, None
        if inline is not None:
            inline.close()
            await self._readers.close()
            self.search.close()
            await asyncio.get_running_loop().run_in_executor(None, self._checkpointer.close)
            await self._writer.close()
            self._mark.close()
        else:
            await self._writer.close()

    def _read_here(self, fn: Callable[..., T], args: tuple[Any, ...], kw: dict[str, Any]) -> T:
        if self._inline is None:
            raise Closed("the store is closed")
        tx = self._inline_tx
        tx.begin(int(self._clock()))
        try:
            return fn(tx, *args, **kw)
        finally:
            tx.end()


async def open_sqlite(path: str, clock: Callable[[], float] = time.time) -> SqliteStore:
    """Create or upgrade the database where needed, and open it. Raises StoreError."""
    migrate(path, clock=clock)
    return SqliteStore(path, clock)
