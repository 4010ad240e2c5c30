"""The store as the rest of the house sees it, and who is told of changes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import structlog

from pillarbox.store.queue_claim import next_due
from pillarbox.store.search_index import SearchIndex
from pillarbox.store.tx import DIRECTORY, QUEUE, Touched, Tx

log = structlog.get_logger()

T = TypeVar("T")
Watcher = Callable[[frozenset[Touched]], None]
Observer = Callable[[int, int, bool], None]

_WATCHED = "SELECT id, user_id, highestmodseq FROM mailboxes WHERE deleted_at IS NULL AND "
_DIRECTORY_VERSION = "SELECT value FROM store_counters WHERE id = 3"


class Store(ABC):
    """One process's access to the store. Belongs to the event loop that opened it.

    Functions are plain `fn(tx, *args, **kw)` with no effect outside `tx`: they may be run more than once.
    """

    search: SearchIndex  # which messages hold which words

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []
        self._own_watchers: list[Watcher] = []
        # Called on the loop after each group: functions in it, nanoseconds it took, whether it was committed.
        self.observer: Observer | None = None
        # For `notice_changes`: who owns a watched mailbox and the modification number told last.
        self._known: dict[int, tuple[int, int]] = {}
        self._directory_version = -1
        self._queue_due: int | None = None

    @abstractmethod
    def write(self, fn: Callable[..., T], *args: Any, size: int = 0, **kw: Any) -> asyncio.Future[T]:
        """Run `fn` in a group commit; done after the durable COMMIT. `size`: octets it brings along.

        Raises what `fn` raised, or a `Temporary` when nothing was changed.
        """

    @abstractmethod
    async def read(self, fn: Callable[..., T], *args: Any, **kw: Any) -> T:
        """Reads by key: at once where the engine can, else in a thread. All of it sees one moment."""

    @abstractmethod
    def peek(self, fn: Callable[..., T], *args: Any, **kw: Any) -> T:
        """`read` without await; raises Busy where only a thread could do it (always on PostgreSQL)."""

    @abstractmethod
    def scan(self, fn: Callable[..., T], *args: Any, **kw: Any) -> asyncio.Future[T]:
        """Searches, exports and other long reads: in a thread, all of it sees one moment."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was taken on, then close. Later calls raise Closed."""

    @abstractmethod
    async def check(self) -> list[str]:
        """Every invariant of the store; a sentence for each that is broken."""

    def on_commit(self, callback: Watcher, *, own_only: bool = False) -> None:
        """Call it on the loop after each commit that touched something.

        With `own_only` not for what other processes did: for the one who tells the other processes.
        """
        (self._own_watchers if own_only else self._watchers).append(callback)

    def hint(self, touched: Iterable[Touched]) -> None:
        """Another process says that it touched these."""
        self._tell(self._watchers, frozenset(touched))

    @abstractmethod
    def notice_changes(self, watched: Iterable[int]) -> frozenset[Touched]:
        """Look for what others changed, in case a hint was lost; to be called about once a second.

        `watched` are ids of mailboxes. Tells the `on_commit` callbacks and returns what it told. May name a mailbox
        whose news are known already. Costs one pragma when nobody committed.
        """

    def _announce(self, touched: frozenset[Touched]) -> None:
        """Our own commit."""
        self._tell(self._own_watchers, touched)
        self._tell(self._watchers, touched)

    def _grouped(self, functions: int, nanoseconds: int, committed: bool) -> None:
        if self.observer is not None:
            self.observer(functions, nanoseconds, committed)

    @staticmethod
    def _tell(watchers: list[Watcher], touched: frozenset[Touched]) -> None:
        if touched:
            for callback in tuple(watchers):
                try:
                    callback(touched)
                except Exception:  # the others still hear of it
                    log.exception("Somebody who was told of a change failed")

    def _news(self, tx: Tx, watched: list[int]) -> frozenset[Touched]:
        """Which of `watched` have another modification number than at the last look, or are gone; and news of the
        directory and of the queue.
        """
        touched = set()
        (version,) = tx.row(_DIRECTORY_VERSION) or (0,)
        if version != self._directory_version:
            if self._directory_version >= 0:
                touched.add(DIRECTORY)
            self._directory_version = version
        due = next_due(tx)
        if due is not None and due != self._queue_due:
            touched.add(QUEUE)
        self._queue_due = due
        known, now = self._known, {}
        for start in range(0, len(watched), 200):
            condition, values = tx.among("id", watched[start : start + 200])
            for mailbox_id, user_id, modseq in tx.rows(_WATCHED + condition, (values,)):
                now[mailbox_id] = (user_id, modseq)
        for mailbox_id in watched:
            before, after = known.get(mailbox_id), now.get(mailbox_id)
            if before != after:
                touched.add(Touched((after or before or (0, 0))[0], mailbox_id))
        self._known = now
        return frozenset(touched)
