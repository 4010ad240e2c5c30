"""Group commit: the one thread of a process that writes.

It takes what is waiting, runs each function under its own savepoint in one transaction, commits once and then
completes all of them together. The disk is synced once for the group, which makes the group of the next round as
large as the load asks for.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import apsw
import structlog

from pillarbox.store.errors import Busy, Closed, Full, StoreError, Temporary
from pillarbox.store.log_space import LogSpace
from pillarbox.store.mark import COMMITS, UIDVALIDITY, Mark, Verdict
from pillarbox.store.remembered import VERSION, Remembered
from pillarbox.store.restored import went_back_in_time
from pillarbox.store.sqlite_connection import FOREIGN_LOCK_WAIT, connect, fetch, translated
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.tx import DIRECTORY, Touched
from pillarbox.store.write_lock import WriteLock

log = structlog.get_logger()

GROUP_FUNCTIONS = 500
GROUP_OCTETS = 4 * 1024 * 1024
_LOOK_EVERY = 5.0  # seconds between two looks whether the turnstile is stuck

_COMMITS = f"SELECT value, ({VERSION}) FROM store_counters WHERE id = ?"
_COUNT = (
    "UPDATE store_counters SET value = value + 1 WHERE id = ? "
    "RETURNING value, (SELECT value FROM store_counters WHERE id = ?)"
)


class Request(NamedTuple):
    future: asyncio.Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kw: dict[str, Any]
    size: int
    since: float  # time.monotonic()


class Done(NamedTuple):
    future: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Writer:
    """`submit` on the loop; everything else happens in the thread."""

    def __init__(
        self,
        path: str,
        mark: Mark,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        announce: Callable[[frozenset[Touched]], None],
        grouped: Callable[[int, int, bool], None] = lambda functions, nanoseconds, committed: None,
    ) -> None:
        self._mark = mark
        self._loop = loop
        self._clock = clock
        self._announce = announce
        self._grouped = grouped
        self._lock = WriteLock(path)
        self._lock.say_open()
        self._connection = connect(path, "writer")
        self._space = LogSpace(path, self._connection)
        self._memory = Remembered()
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._ending = False
        self._closed = False
        # While the turnstile keeps us waiting: what waits there and since when. The mutex decides between the thread
        # that gets its turn and the loop that gives up.
        self._waiting: tuple[list[Request], float] | None = None
        self._mutex = threading.Lock()
        self._watch = loop.call_later(_LOOK_EVERY, self._give_up_waiting)
        self._ended: asyncio.Future[None] = loop.create_future()
        # What is to be called on the loop, and what wakes it up. Not `call_soon_threadsafe`: that holds the interpreter
        # while it wakes the loop, which has to wait for the interpreter then.
        self._finished: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        loop.add_reader(self._bell, self._heard)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any], size: int
    ) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        if self._closed:
            future.set_exception(Closed("the store is closed"))
        else:
            self._queue.put(Request(future, fn, args, kw, size, time.monotonic()))
        return future

    async def close(self) -> None:
        """Do what was submitted, then close the connection."""
        self._watch.cancel()
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def _run(self) -> None:
        while not self._ending:
            request = self._queue.get()
            if request is None:
                break
            group = [request]
            began = time.monotonic_ns()
            try:
                self._group(group, began)
            except BaseException as error:
                log.exception("Store writer failed")
                self._roll_back()
                done = [Done(r.future, None, _again(error)) for r in group]
                self._post(self._complete, done, [], time.monotonic_ns() - began)
        self._connection.close()
        self._lock.close()
        self._post(self._end)

    def _post(self, callback: Callable[..., Any], *args: Any) -> None:
        """Have it called on the loop."""
        self._finished.append((callback, args))
        os.eventfd_write(self._bell, 1)

    def _heard(self) -> None:
        """On the loop, once for each `_post`."""
        os.eventfd_read(self._bell)
        callback, args = self._finished.popleft()
        callback(*args)

    def _end(self) -> None:
        self._loop.remove_reader(self._bell)
        os.close(self._bell)
        self._ended.set_result(None)

    def _complete(self, done: list[Done], touched: list[Touched], nanoseconds: int) -> None:
        for future, value, error in done:
            if future.done():  # cancelled: what was asked for has happened nevertheless
                continue
            if error is None:
                future.set_result(value)
            elif isinstance(error, StopIteration):  # no future can carry it (PEP 479)
                future.set_exception(RuntimeError("a store function raised StopIteration"))
            else:
                future.set_exception(error)
        if DIRECTORY in touched:  # nobody who waited goes on with what was known of it before
            self._announce(frozenset(touched))
            touched = []
        # All others hear of it when those who waited have gone on, whose answers somebody waits for.
        committed = not all(isinstance(one.error, Temporary) for one in done)
        self._loop.call_soon(self._tell, touched, len(done), nanoseconds, committed)

    def _tell(self, touched: list[Touched], functions: int, nanoseconds: int, committed: bool) -> None:
        if touched:
            self._announce(frozenset(touched))
        self._grouped(functions, nanoseconds, committed)

    def _give_up_waiting(self) -> None:
        """On the loop: a sibling holds the lock for a minute (it was stopped?), so nobody's turn will come."""
        self._watch = self._loop.call_later(_LOOK_EVERY, self._give_up_waiting)
        with self._mutex:
            if self._waiting is None or time.monotonic() - self._waiting[1] < FOREIGN_LOCK_WAIT:
                return
            group = self._waiting[0]
            with suppress(Empty):
                while True:
                    request = self._queue.get_nowait()
                    if request is None:
                        self._ending = True
                    else:
                        group.append(request)
            log.error("Another process holds the write lock", functions=len(group))
            for request in group:
                if not request.future.done():
                    request.future.set_exception(Busy("another process holds the write lock"))

    def _gather(self, group: list[Request]) -> None:
        """Add what is waiting, up to the limits of a group."""
        octets = sum(request.size for request in group)
        while len(group) < GROUP_FUNCTIONS and octets < GROUP_OCTETS:
            try:
                request = self._queue.get_nowait()
            except Empty:
                return
            if request is None:
                self._ending = True
                return
            group.append(request)
            octets += request.size

    def _group(self, group: list[Request], began: int) -> None:
        """Run a group and tell the loop. `group` grows by what arrived while the lock was awaited."""
        with self._mutex:
            self._waiting = (group, time.monotonic())
        with self._lock:
            with self._mutex:
                self._waiting = None
            self._gather(group)
            try:
                done, touched = self._transaction(group)
            except _Spoiled:
                pass
            else:  # before the lock is given on: that goes meanwhile
                self._post(self._complete, done, touched, time.monotonic_ns() - began)
                return
        # Somebody's error ended the transaction for all: each is tried again for itself.
        done, touched = [], []
        for request in group:
            with self._lock:
                try:
                    one, its = self._transaction([request])
                except _Spoiled as spoiled:
                    one, its = [Done(request.future, None, spoiled.error)], []
            done += one
            touched += its
        self._post(self._complete, done, touched, time.monotonic_ns() - began)

    def _transaction(self, group: list[Request]) -> tuple[list[Done], list[Touched]]:
        connection = self._connection
        try:
            self._wait_no_longer_than(group[0].since + FOREIGN_LOCK_WAIT)
            connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            return self._failed(group, translated(error))
        self._space.make()
        before = connection.total_changes()
        tx = SqliteTx(connection, int(self._clock()), self._memory)
        try:
            committed, version = fetch(connection, _COMMITS, (COMMITS,))
            self._memory.at(version or 0, before)
            if committed < self._mark.committed:
                self._memory.forget()
                went_back_in_time(tx, self._mark, Verdict.BEHIND)
        except (apsw.Error, StoreError) as error:
            return self._failed(group, error if isinstance(error, StoreError) else translated(error))
        asked = [request for request in group if not request.future.done()]  # the others: cancelled or given up
        done = [self._alone(tx, asked[0])] if len(asked) == 1 else [self._one(tx, request) for request in asked]
        if not connection.in_transaction:  # the only one has failed
            return done, []
        try:
            if connection.total_changes() == before:
                connection.execute("COMMIT")
                return done, []
            counter, uidvalidity = fetch(connection, _COUNT, (COMMITS, UIDVALIDITY))
            self._mark.reserve(counter)
            connection.execute("COMMIT")
        except apsw.Error as error:
            return self._failed(group, translated(error))
        except OSError as error:
            return self._failed(group, Full(f"high-water mark: {error.strerror}"))
        self._mark.commit(counter, uidvalidity)
        return done, tx.touched

    def _alone(self, tx: SqliteTx, request: Request) -> Done:
        """Run the only function of a transaction: its error is the end of that."""
        try:
            value = request.fn(tx, *request.args, **request.kw)
            if not self._connection.in_transaction:
                raise StoreError("an error ended the transaction, and the function went on")
            return Done(request.future, value, None)
        except BaseException as error:
            self._roll_back()
            return Done(request.future, None, error)

    def _one(self, tx: SqliteTx, request: Request) -> Done:
        """Run one function of several. Raises _Spoiled when its error ended the transaction."""
        connection = self._connection
        touched = len(tx.touched)
        try:
            tx.run("SAVEPOINT one")
            value = request.fn(tx, *request.args, **request.kw)
            tx.run("RELEASE one")
        except BaseException as error:
            self._memory.forget()
            if not connection.in_transaction:
                raise _Spoiled(error) from error
            del tx.touched[touched:]
            try:
                tx.run("ROLLBACK TO one")
                tx.run("RELEASE one")
            except StoreError as worse:
                self._roll_back()
                raise _Spoiled(error) from worse
            return Done(request.future, None, error)
        return Done(request.future, value, None)

    def _failed(self, group: list[Request], error: StoreError) -> tuple[list[Done], list[Touched]]:
        self._roll_back()
        if not isinstance(error, Temporary):
            error = StoreError(str(error))
        log.warning("Store commit failed", error=str(error), kind=type(error).__name__, functions=len(group))
        return [Done(request.future, None, _again(error)) for request in group], []

    def _roll_back(self) -> None:
        self._memory.forget()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            log.error("Rollback failed", error=str(error))

    def _wait_no_longer_than(self, deadline: float) -> None:
        """Time spent at the turnstile counts: nobody waits much over a minute in all."""
        left = deadline - time.monotonic()
        self._connection.set_busy_timeout(max(100, int(left * 1000)))


class _Spoiled(Exception):
    """An error ended the transaction that others were in too."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _again(error: BaseException) -> BaseException:
    """A fresh instance for each waiter: one instance raised in many tasks grows one traceback."""
    if isinstance(error, StoreError):
        return type(error)(*error.args)
    return StoreError(f"{type(error).__name__}: {error}")
