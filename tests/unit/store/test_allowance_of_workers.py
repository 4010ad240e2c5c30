"""Limits of an account hold for all workers and over restarts: they are counted where the message is stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from store_samples import Clock
from test_allowance import HOUR, send

from pillarbox.flow.allowance import Held, Limit, OverLimit, Submitted
from pillarbox.store import Store, directory, open_store, queue, senders, usage
from pillarbox.store.records import QueueFilter, User

WORKERS = 3


@asynccontextmanager
async def workers(place: str, clock: Clock) -> AsyncIterator[list[Store]]:
    """Each has the database for itself, as processes and nodes have."""
    stores = [await open_store(place, clock=clock) for _ in range(WORKERS)]
    try:
        yield stores
        assert await stores[0].check() == []
    finally:
        for store in stores:
            await store.close()


async def ada(store: Store) -> User:
    return await store.write(directory.create_user, "ada@example.com", "ada@example.com", "hash")


async def sent(stores: list[Store], user: User, count: int, recipients: int = 1, **limits: int) -> Counter[str]:
    """What comes of so many messages at once, each to others, through all workers in turns."""
    sending = [
        send(stores[n % WORKERS], user, *(f"r{n}-{m}@elsewhere.example" for m in range(recipients)), **limits)
        for n in range(count)
    ]
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert all(isinstance(outcome, Submitted | OverLimit | Held) for outcome in outcomes), outcomes
    return Counter(type(outcome).__name__ for outcome in outcomes)


@pytest.mark.parametrize(
    "limit", ["messages_per_hour", "messages_per_day", "recipients_per_hour", "recipients_per_day"]
)
async def test_no_limit_is_exceeded_by_several_workers_or_a_restart(place: str, clock: Clock, limit: str) -> None:
    most = {limit: 7}
    async with workers(place, clock) as stores:
        user = await ada(stores[0])
        assert await sent(stores, user, 5, **most) == {"Submitted": 5}
    async with workers(place, clock) as stores:
        assert await sent(stores, user, 20, **most) == {"Submitted": 2, "OverLimit": 18}
        rows = await stores[1].scan(queue.find, QueueFilter(user_id=user.id), 100)
        assert len(rows) == 7
    async with workers(place, clock) as stores:
        assert await sent(stores, user, 3, **most) == {"OverLimit": 3}
        clock.now += HOUR if limit.endswith("hour") else 25 * HOUR
        assert await sent(stores, user, 20, **most) == {"Submitted": 7, "OverLimit": 13}


async def test_recipients_are_counted_and_not_messages(place: str, clock: Clock) -> None:
    async with workers(place, clock) as stores:
        user = await ada(stores[0])
        assert (await sent(stores, user, 9, recipients=3, recipients_per_hour=10))["Submitted"] == 3
        with pytest.raises(OverLimit) as refused:
            await send(stores[2], user, *(f"m{n}@elsewhere.example" for n in range(2)), recipients_per_hour=10)
        assert refused.value.limit is Limit.RECIPIENTS_PER_HOUR
        await send(stores[1], user, "one@elsewhere.example", recipients_per_hour=10)


async def test_a_burst_through_all_workers_holds_the_account_in_each_and_over_a_restart(
    place: str, clock: Clock
) -> None:
    most = {"new_recipients_per_hour": 5}
    async with workers(place, clock) as stores:
        user = await ada(stores[0])
        assert await sent(stores, user, 4, **most) == {"Submitted": 4}
    async with workers(place, clock) as stores:
        outcomes = await sent(stores, user, 30, **most)
        assert outcomes["Submitted"] >= 2 and outcomes["Held"] >= 1 and outcomes["OverLimit"] == 0
        rows = await stores[0].scan(queue.find, QueueFilter(user_id=user.id), 100)
        assert {row.status for row in rows} == {"held"} and len(rows) == 4 + outcomes["Submitted"]
        for store in stores:  # none of them has to hear of it first
            with pytest.raises(Held):
                await send(store, user, "friend@elsewhere.example", **most)
            with pytest.raises(Held):
                await send(store, user, "friend@elsewhere.example")
    async with workers(place, clock) as stores:
        with pytest.raises(Held):
            await send(stores[1], user, "friend@elsewhere.example", **most)
        counts = dict(await stores[0].scan(lambda tx: tx.rows("SELECT name, message_count FROM mailboxes")))
        assert counts["INBOX"] == 2, "owner and postmaster (here the same) are told once"
        await stores[0].write(senders.release, user.id)
        await stores[0].write(usage.forget, user.id)
        assert await sent(stores, user, 5, **most) == {"Submitted": 5}, "he knows them by now"
