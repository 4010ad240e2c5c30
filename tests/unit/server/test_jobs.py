"""Jobs: done by who has the lease, step by step, given on at the end; and each on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clock import Clock
from empty_store import put_empty_store
from pillarbox.access.ledger import Field, Ledger
from pillarbox.flow.owner import this_process
from pillarbox.server.jobs import JOBS, Job, Jobs
from pillarbox.store import Busy, Store, Tx, blobs, leases, open_store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    put_empty_store(tmp_path / "smtp.db")
    opened = await open_store(tmp_path / "smtp.db", clock=clock)
    yield opened
    assert await opened.check() == []
    await opened.close()


def jobs(store: Store, holder: str, *some: Job) -> tuple[Jobs, list[float]]:
    slept: list[float] = []
    return Jobs(store, Ledger(1).attach(1), holder, some, sleep=slept.append), slept


async def test_a_job_is_repeated_until_there_is_nothing_to_do(store: Store) -> None:
    left = [3, 2, 0, 9]
    job = Job("count", 60, lambda tx: left.pop(0))
    runner, slept = jobs(store, "me", job)
    assert await runner.once(job)
    assert left == [9] and len(slept) == 2


async def test_one_holder_at_a_time_and_the_lease_is_given_on(store: Store) -> None:
    done: list[str] = []
    ours = Job("job", 60, lambda tx: done.append("ours") or 0)
    theirs = Job("job", 60, lambda tx: done.append("theirs") or 0)
    mine, _ = jobs(store, this_process() + "/me", ours)
    other, _ = jobs(store, this_process() + "/other", theirs)
    assert await mine.once(ours) and await mine.once(ours)
    assert not await other.once(theirs)
    mine.start()
    await mine.stop()
    assert await other.once(theirs)
    assert done[0] == "ours" and done[-1] == "theirs"


async def test_what_was_found_is_done_one_by_one(store: Store) -> None:
    done: list[int] = []

    def step(tx: Tx, number: int) -> int:
        done.append(number)
        return 1

    job = Job("each", 60, step, lambda tx: [7, 8])
    runner, _ = jobs(store, "me", job)
    assert await runner.once(job)
    assert sorted(done) == [7, 8]


@pytest.mark.parametrize(("again", "left"), [(False, 1), (True, 0)])
async def test_it_may_look_again_after_what_was_found(store: Store, again: bool, left: int) -> None:
    waiting = [[7, 8], [9], []]
    done: list[int] = []

    def step(tx: Tx, number: int) -> int:
        done.append(number)
        return 1

    job = Job("each", 60, step, lambda tx: waiting.pop(0), again)
    runner, _ = jobs(store, "me", job)
    assert await runner.once(job)
    assert done == [8, 7, 9][: len(done)] and sum(map(len, waiting)) == left


@pytest.mark.parametrize(("error", "errors"), [(Busy("locked"), 0), (RuntimeError("broken"), 1)])
async def test_a_job_that_fails_is_tried_again_later(error: Exception, errors: int) -> None:
    class Failing:
        async def write(self, fn: Any, *_: object) -> object:
            if fn is not leases.acquire:
                return None
            raise error

    waits: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            enough.set()
            await asyncio.Event().wait()

    ledger = Ledger(1)
    store: Any = Failing()
    runner = Jobs(store, ledger.attach(1), "me", (Job("job", 5, lambda tx: 0),), sleep=sleep)
    runner.start()
    await enough.wait()
    await runner.stop()
    assert waits[1:] == [60.0, 60.0]
    assert ledger.total(Field.ERRORS) == 2 * errors


async def test_the_real_jobs_on_a_store(store: Store, clock: Clock) -> None:
    ours = await store.write(blobs.begin, this_process())
    elsewhere = await store.write(blobs.begin, "elsewhere:1:1/1")
    dead = await store.write(blobs.begin, this_process() + "0/1")
    for job in JOBS:  # nor did its worker give its leases back
        assert await store.write(leases.acquire, job.name, this_process() + "0", 120)
    runner, _ = jobs(store, this_process(), *JOBS)
    for job in JOBS:
        assert await runner.once(job)
    left = await store.scan(lambda tx: [row[0] for row in tx.rows("SELECT id FROM blobs")])
    assert left == [ours, elsewhere] and dead not in left
    clock.now += blobs.KEEP + 200
    assert await runner.once(JOBS[1])
    assert await store.scan(lambda tx: tx.rows("SELECT id FROM blobs")) == []
