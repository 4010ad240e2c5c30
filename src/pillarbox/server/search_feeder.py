"""Feeds the search index in the background: when mail has stopped coming for a moment, in one worker of all (a lease),
in small steps. What is not indexed yet is read when somebody searches, so nothing is missed meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from pillarbox.access.ledger import Field, Slot
from pillarbox.flow.owner import alive
from pillarbox.store import Away, Store, StoreError, Tx, leases
from pillarbox.store.errors import Temporary
from pillarbox.store.tx import Touched

log = structlog.get_logger()

NAME = "feed-search-index"
LEASE = 120  # seconds; longer than a step takes
SOON = 5.0  # seconds without a commit after which what came is indexed: mail that is coming goes first
LATEST = 60.0  # seconds after which it is indexed though more keeps coming
BUSY = 9  # times as long as a step took it rests while mail is coming
LOOK = 30.0  # seconds between two looks when nobody told of a commit
PAUSE = 0.02  # seconds at least between two steps: others' turn


class SearchFeeder:
    """Runs in every worker's loop; the one that gets the lease works."""

    def __init__(self, store: Store, slot: Slot, holder: str) -> None:
        self._store = store
        self._slot = slot
        self._holder = holder
        self._news = asyncio.Event()
        self._heard = 0.0  # when the last news came, on the loop's clock
        self._task: asyncio.Task[None] | None = None
        store.on_commit(self._touched)

    def start(self) -> None:
        self._news.set()  # what came while nobody ran
        self._task = asyncio.get_running_loop().create_task(self._run(), name=NAME)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        try:
            await self._store.write(_release, self._holder)
        except StoreError as error:
            log.info("Lease was not given back", error=str(error))

    def _touched(self, touched: frozenset[Touched]) -> None:
        if any(one.mailbox_id > 0 for one in touched):
            self._heard = asyncio.get_running_loop().time()
            self._news.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK)
            await self._lull()
            try:
                await self.once()
            except Temporary as error:
                if not isinstance(error, Away):
                    log.info("Feeding the search index is put off", error=str(error))
            except Exception:
                self._slot.add(Field.ERRORS)
                log.exception("Feeding the search index failed")
                await asyncio.sleep(LOOK)

    async def _lull(self) -> None:
        """Until nothing has come for a moment, or for as long as that may take. What comes meanwhile wakes nobody: with
        much mail that would be a task for each commit."""
        clock = asyncio.get_running_loop().time
        end = clock() + LATEST
        while (rest := min(self._heard + SOON, end) - clock()) > 0:
            await asyncio.sleep(rest)
        self._news.clear()

    async def once(self) -> int:
        """Index all that waits, if nobody else does; how many messages."""
        if not await self._store.search.behind(self._store):
            return 0
        done, until = 0, 0.0
        clock = asyncio.get_running_loop().time
        patience = clock() + LATEST  # until then it stands back for mail that comes
        while True:
            if clock() >= until:
                if not await self._store.write(leases.acquire, NAME, self._holder, LEASE, alive):
                    return done
                until = clock() + LEASE / 2
            began = clock()
            count = await self._store.search.feed(self._store)
            if not count:
                break
            done += count
            if self._news.is_set() and clock() < patience:
                await self._lull()
            else:  # half of a thread's time at most, for years of mail too
                await asyncio.sleep(max(PAUSE, (clock() - began) * (BUSY if self._news.is_set() else 1)))
        await self._store.search.sweep(self._store)
        if done:
            log.info("Messages were indexed for searching", count=done)
        return done


def _release(tx: Tx, holder: str) -> None:
    leases.release(tx, NAME, holder)
