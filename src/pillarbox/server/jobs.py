"""Work that is done once for all workers, and once for all nodes on one database: the clean-up of the store.

Whoever holds the lease of a job does it; the others look again later, and take it over when the holder is dead. Each
step is one small transaction, so that a clean-up of years never stands in the way of mail. Checkpoints have a lock of
their own in the store, since they belong to a machine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from pillarbox.access.ledger import Field, Slot
from pillarbox.flow import quota_warning
from pillarbox.flow.owner import alive
from pillarbox.store import (
    Away,
    Store,
    StoreError,
    Tx,
    blobs,
    destinations,
    leases,
    mailboxes,
    messages,
    past,
    past_annotations,
    space,
    summaries,
    summary_texts,
    tokens,
    undelete,
    unlisted,
    usage,
    view_blocks,
)
from pillarbox.store.errors import Temporary

log = structlog.get_logger()

LEASE = 120  # seconds; longer than a worker needs for a step
LOOK = 60.0  # seconds between two tries to get a lease
PAUSE = 0.2  # seconds between two steps
DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Job:
    """`step(tx)` does a little in one transaction and says how much; it is repeated until it says 0.

    With `find`, which looks in a reader's thread, it is `step(tx, what)` for each that was found, the last one first;
    `again`: then it looks for more. Then the job rests for `every` seconds.
    """

    name: str
    every: float
    step: Callable[..., int]
    find: Callable[[Tx], list[Any]] | None = None
    again: bool = False


def free_unreferenced(tx: Tx) -> int:
    """Blobs that nobody refers to, a day after that was noted."""
    return blobs.free_unreferenced(tx, tx.now - blobs.KEEP)


def free_unfinished(tx: Tx) -> int:
    """Blobs that a dead process left half written: at once on this machine, else after a day."""
    return blobs.free_unfinished(tx, alive, before=tx.now - blobs.KEEP)


def listed_due(tx: Tx) -> list[Any]:
    """What lists of messages need: first what older programs have not made, then summaries, which tell of it."""
    return [*unlisted.due(tx)] or [*summaries.due(tx)]


def put_listed(tx: Tx, one: unlisted.Fields | summaries.Summary) -> int:
    return unlisted.put(tx, one) if isinstance(one, unlisted.Fields) else summaries.put(tx, one)


JOBS = (
    Job("free-unreferenced-blobs", 60.0, free_unreferenced),
    Job("free-unfinished-blobs", 300.0, free_unfinished),
    Job("settle-expunged", 300.0, messages.settle),
    Job("trim-expunge-history", 3600.0, messages.trim_history, messages.long_histories),
    Job("trim-past", 3600.0, past.trim, past.restless),
    Job("drop-past-annotations", 24 * 3600.0, past_annotations.drop, past_annotations.orphans),
    Job("pack-large-views", 60.0, view_blocks.carry_out, view_blocks.due),
    Job("pack-summaries", 60.0, put_listed, listed_due, again=True),
    Job("pack-summary-texts", 60.0, summary_texts.put, summary_texts.due, again=True),
    Job("tidy-summaries", 24 * 3600.0, summaries.tidy, summaries.thinned),
    Job("give-back-space", 3600.0, space.give_back),
    Job("mend-queue", 300.0, destinations.sweep),
    Job("trim-sending-usage", 3600.0, usage.trim),
    Job("trim-known-recipients", 24 * 3600.0, usage.trim_known, usage.long_known),
    Job("trim-tokens", 24 * 3600.0, tokens.trim),
)


def keeping_jobs(days: Callable[[], int]) -> tuple[Job, ...]:
    """What ends the time in which expunged messages and deleted mailboxes can be brought back.

    `days` gives that time, as it is set now.
    """

    def forget(tx: Tx) -> int:
        before = tx.now - days() * DAY
        return undelete.forget(tx, before) + past.forget(tx, before)

    def purge(tx: Tx) -> int:
        return mailboxes.purge_deleted(tx, before=tx.now - days() * DAY)

    return Job("forget-expunged", 600.0, forget), Job("purge-deleted-mailboxes", 30.0, purge)


def warning_job(thresholds: Callable[[], tuple[int, ...]], hostname: Callable[[], str]) -> Job:
    """Tells by mail that quotas are nearly used up (`flow.quota_warning`). Thresholds in per cent, as set now."""

    def find(tx: Tx) -> list[int]:
        return quota_warning.due(tx, thresholds())

    def step(tx: Tx, candidate: int) -> int:
        return int(quota_warning.warn(tx, candidate, thresholds(), hostname()))

    return Job("warn-of-quotas", 60.0, step, find)


class Jobs:
    """Runs the jobs in one worker's loop. `holder` names this worker in the leases (see `flow.owner`)."""

    def __init__(
        self,
        store: Store,
        slot: Slot,
        holder: str,
        jobs: tuple[Job, ...] = JOBS,
        *,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._store = store
        self._slot = slot
        self._holder = holder
        self._jobs = jobs
        self._sleep = sleep or asyncio.sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(self._run(job), name=job.name) for job in self._jobs]

    async def stop(self) -> None:
        """End, and give the leases to whoever goes on."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            try:
                await self._store.write(_release_all, [job.name for job in self._jobs], self._holder)
            except StoreError as error:
                log.info("Leases were not given back", error=str(error))

    async def _run(self, job: Job) -> None:
        await self._wait(random.uniform(1.0, 5.0))  # not all workers at once
        while True:
            try:
                rest = job.every if await self.once(job) else LOOK
            except Temporary as error:
                rest = LOOK
                if not isinstance(error, Away):
                    log.info("A job is put off", job=job.name, error=str(error))
            except Exception:
                rest = LOOK
                self._slot.add(Field.ERRORS)
                log.exception("A job failed", job=job.name)
            await self._wait(rest)

    async def once(self, job: Job) -> bool:
        """Do all there is, as long as the lease is ours; False when somebody else has it."""
        began, done = time.monotonic(), 0
        found: list[Any] | None = None
        while await self._store.write(leases.acquire, job.name, self._holder, LEASE, alive):
            if job.find is not None:
                if found is None or (job.again and not found):
                    found = await self._store.scan(job.find)
                if not found:
                    break
                done += await self._store.write(job.step, found.pop())
            else:
                count = await self._store.write(job.step)
                if not count:
                    break
                done += count
            await self._wait(PAUSE)
        else:
            return False
        if done:
            log.info("Job done", job=job.name, count=done, seconds=round(time.monotonic() - began, 3))
        return True

    async def _wait(self, seconds: float) -> None:
        result = self._sleep(seconds)
        if asyncio.iscoroutine(result):
            await result


def _release_all(tx: Tx, names: list[str], holder: str) -> None:
    for name in names:
        leases.release(tx, name, holder)
