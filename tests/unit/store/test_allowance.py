"""What accounts may send, on both engines: limits that hold however many send at once, holds, and sender rights."""

from __future__ import annotations

import asyncio
import random

import pytest
from store_samples import Clock

from pillarbox.access.senders import standing
from pillarbox.flow.allowance import Allowance, Held, Limit, OverLimit, Submitted, submit
from pillarbox.flow.planning import Envelope, Recipient, plan
from pillarbox.flow.route import relayed
from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, blobs, directory, queue, senders, usage
from pillarbox.store.records import NewMessage, QueueFilter, User

CONTENT = b"From: alice@example.com\r\n\r\nhello\r\n"
HOUR = 3600


async def send(store: Store, user: User, *recipients: str, **limits: int) -> Submitted:
    made = tuple(Recipient(address, relayed(address)) for address in recipients)
    key = f"KEY{random.random()}"
    envelope = Envelope(key, user.email, made, b"Received: x\r\n", 0.0, "mx", user_id=user.id)
    message = NewMessage(blobs.pack(CONTENT), None, analyse(CONTENT))
    return await store.write(submit, Allowance(**limits), envelope, plan(envelope, message, CONTENT), message, CONTENT)


async def statuses(store: Store) -> list[str]:
    return [row.status for row in await store.scan(queue.find, QueueFilter(), 1000)]


async def test_no_more_than_the_limit_however_many_send_at_once(store: Store, alice: User) -> None:
    outcomes = await asyncio.gather(
        *(send(store, alice, "x@elsewhere.example", messages_per_hour=3) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Submitted) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, OverLimit) for outcome in outcomes) == 5
    assert len(await statuses(store)) == 3
    assert (await store.read(usage.totals, alice.id)).hour_messages == 3, "what was refused is not counted"


async def test_it_is_said_when_there_is_room_again_and_there_is(store: Store, clock: Clock, alice: User) -> None:
    limits = {"recipients_per_day": 10}
    for count in (4, 3, 3):
        await send(store, alice, *(f"r{n}@elsewhere.example" for n in range(count)), **limits)
        clock.now += 2 * HOUR
    with pytest.raises(OverLimit) as refused:
        await send(store, alice, *(f"r{n}@elsewhere.example" for n in range(5)), **limits)
    assert refused.value.limit is Limit.RECIPIENTS_PER_DAY
    until = refused.value.until
    assert until is not None
    clock.now = until - 1
    with pytest.raises(OverLimit):
        await send(store, alice, *(f"r{n}@elsewhere.example" for n in range(5)), **limits)
    clock.now = until
    await send(store, alice, *(f"r{n}@elsewhere.example" for n in range(5)), **limits)


async def test_the_hour_of_the_clock(store: Store, clock: Clock, alice: User) -> None:
    await send(store, alice, "x@elsewhere.example", messages_per_hour=1)
    with pytest.raises(OverLimit) as refused:
        await send(store, alice, "x@elsewhere.example", messages_per_hour=1)
    assert refused.value.until == (int(clock.now) // HOUR + 1) * HOUR
    clock.now = refused.value.until
    await send(store, alice, "x@elsewhere.example", messages_per_hour=1)


async def test_more_at_once_than_ever_allowed(store: Store, alice: User) -> None:
    with pytest.raises(OverLimit) as refused:
        await send(store, alice, "a@b.example", "c@d.example", recipients_per_hour=1)
    assert refused.value.until is None


async def test_a_burst_holds_once_and_everything(store: Store, alice: User, bob: User) -> None:
    await send(store, bob, "other@elsewhere.example")
    sent = [send(store, alice, f"r{n}@elsewhere.example", new_recipients_per_hour=5) for n in range(10)]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    bursts = [outcome for outcome in outcomes if isinstance(outcome, Submitted) and outcome.held]
    assert len(bursts) >= 1
    assert all(isinstance(outcome, Submitted | Held) for outcome in outcomes)
    rows = await store.scan(queue.find, QueueFilter(user_id=alice.id), 100)
    assert {row.status for row in rows} == {"held"} and len(rows) >= 6
    assert await store.scan(queue.find, QueueFilter(user_id=bob.id), 100, 0)
    assert {row.status for row in await store.scan(queue.find, QueueFilter(user_id=bob.id))} == {"pending"}
    inboxes = (
        "SELECT u.username, b.message_count FROM mailboxes b JOIN users u ON u.id = b.user_id WHERE b.name = 'INBOX'"
    )
    counts = dict(await store.scan(lambda tx: tx.rows(inboxes)))
    assert counts == {"alice": 2, "bob": 0}, "owner and postmaster (here the same) are told once"


async def test_old_friends_are_no_burst(store: Store, clock: Clock, alice: User) -> None:
    friends = [f"r{n}@elsewhere.example" for n in range(9)]
    await send(store, alice, *friends, new_recipients_per_hour=100)
    clock.now += HOUR
    assert not (await send(store, alice, *friends, "one@more.example", new_recipients_per_hour=3)).held


async def test_addresses_of_an_account(store: Store, alice: User, bob: User) -> None:
    async def may(address: str, user: User = alice) -> bool:
        local, _, domain = address.rpartition("@")
        return (await store.read(standing, user.id, [(local, domain)])).stranger is None

    await store.write(directory.add_alias, "sales@example.com", "alice@example.com")
    await store.write(senders.grant, alice.id, "@news.example")
    await store.write(directory.create_user, "carol@other.example", "carol@example.com", "hash")
    assert await may("Alice+tag@EXAMPLE.com")
    assert await may("sales@example.com") and not await may("sales@example.com", bob)
    assert await may("any@news.example") and not await may("any@sub.news.example")
    assert not await may("bob@example.com") and await may("bob@example.com", bob)
    carol = await store.read(directory.user, "carol@example.com")
    assert carol is not None
    assert await may("carol@other.example", carol), "its username is an address"
