"""When a destination is due: never later than its first row, whoever writes the rows."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from store_samples import Clock, message

from pillarbox.store import QUEUE, Store, Tx, destinations, messages, open_store, queue_claim, queue_settle
from pillarbox.store.records import Destination, Queued


async def put(store: Store, *recipients: str, to: str = "mx x", **more: Any) -> list[int]:
    sender = more.pop("sender", "a@example.com")
    plans = [Queued(sender, recipient, destination=to, **more) for recipient in recipients]
    return [outcome.queue_id or 0 for outcome in await store.write(messages.deliver, message(), plans)]


async def due(store: Store) -> dict[str, int | None]:
    return {destination.name: destination.due_at for destination in await store.read(destinations.page)}


async def put_off(store: Store, until: int) -> Destination:
    """All rows of the one destination are deferred until then, and it is left."""
    (destination,) = await store.write(queue_claim.due_destinations, "one", 1, 60)
    rows = await store.write(queue_claim.claim, destination.id, "one", 1000, 60)
    await store.write(queue_settle.defer, [(row.id, until, "450", "") for row in rows])
    await leave(store, destination.id)
    found = await store.read(destinations.get, destination.id)
    assert found is not None
    assert found.due_at == until
    return found


async def leave(store: Store, destination_id: int, holder: str = "one") -> None:
    nothing = {"failures": 0, "concurrency": 0, "blocked_until": None, "last_error": ""}
    await store.write(queue_claim.leave, destination_id, holder, **nothing)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE message_queue SET next_retry_at = 7",
        "UPDATE message_queue SET next_retry_at = 7 WHERE status = 'retry'",
        "INSERT INTO message_queue (from_address, to_address, created_at, destination_id, next_retry_at, blob_id) "
        "SELECT from_address, to_address, created_at, destination_id, 7, blob_id FROM message_queue",
    ],
)
async def test_whatever_makes_a_row_due_makes_its_destination_due(store: Store, clock: Clock, statement: str) -> None:
    await put(store, "1@x")
    await put_off(store, clock.now + 900)
    await store.write(lambda tx: tx.run(statement))
    assert await due(store) == {"mx x": 7}


async def test_a_row_that_is_put_elsewhere_makes_that_due(store: Store, clock: Clock) -> None:
    await put(store, "1@x")
    await put_off(store, clock.now + 900)
    await put(store, "2@y", to="mx y", not_before=clock.now + 5000)
    await store.write(lambda tx: tx.run("UPDATE message_queue SET destination_id = 2"))
    assert await due(store) == {"mx x": clock.now + 900, "mx y": clock.now + 900}


async def test_a_destination_that_is_deleted_from_outside_leaves_its_rows_to_be_routed(store: Store) -> None:
    ids = await put(store, "1@x", "2@x")
    await store.write(lambda tx: tx.run("DELETE FROM destinations"))
    assert [row.id for row in await store.read(queue_claim.unrouted, 9)] == ids


async def test_a_row_for_a_destination_that_is_not_there_is_routed(store: Store) -> None:
    (one,) = await put(store, "1@x")
    await store.write(lambda tx: tx.run("UPDATE message_queue SET destination_id = 99"))
    assert [row.id for row in await store.read(queue_claim.unrouted, 9)] == [one]


async def test_a_destination_keeps_what_was_learnt_for_an_hour_without_mail(store: Store, clock: Clock) -> None:
    (one,) = await put(store, "1@x")
    (destination,) = await store.write(queue_claim.due_destinations, "one", 1, 60)
    await store.write(queue_settle.remove, [one])
    learnt = {"failures": 0, "concurrency": 12, "blocked_until": None, "last_error": ""}
    await store.write(queue_claim.leave, destination.id, "one", **learnt)
    assert await due(store) == {"mx x": None}
    assert await store.read(queue_claim.next_due) is None
    clock.now += destinations.IDLE - 1
    assert await store.write(destinations.sweep) == 0
    await put(store, "2@x")
    (again,) = await store.write(queue_claim.due_destinations, "one", 1, 60)
    assert again == Destination(destination.id, "mx x", clock.now, "", 0, 0, 12, None, "")
    await store.write(lambda tx: tx.run("DELETE FROM message_queue"))
    await leave(store, destination.id)
    clock.now += destinations.IDLE
    await store.write(destinations.sweep)
    assert await due(store) == {}


async def test_what_a_clock_that_ran_ahead_left_does_not_wait_for_that_time(store: Store, clock: Clock) -> None:
    """A machine that began with the time of another year, sent and put off, and then learnt the true time."""
    true = clock.now
    await put(store, "truly later@x", to="mx y", not_before=true + 300 * 24 * 3600)
    await put(store, "put off@x")
    clock.now += 1000 * 24 * 3600
    (x,) = await store.write(queue_claim.due_destinations, "one", 1, 60)
    (row,) = await store.write(queue_claim.claim, x.id, "one", 10, 60)
    await store.write(queue_settle.defer, [(row.id, clock.now + 300, "450", "")])
    left = {"failures": 9, "concurrency": 1, "blocked_until": clock.now + 1800, "last_error": "no answer"}
    await store.write(queue_claim.leave, x.id, "one", **left)
    await put(store, "never tried@x", "urgent@x", priority=2)
    await put(store, "leased@z", to="mx z")
    await store.write(queue_claim.due_destinations, "dead", 10, 60)
    clock.now = true + 60
    await put(store, "new@x")
    assert await store.write(queue_claim.due_destinations, "two", 10, 60) == []
    while await store.write(destinations.sweep, 1):
        pass
    leased = await store.write(queue_claim.due_destinations, "two", 10, 60)
    assert sorted(each.name for each in leased) == ["mx x", "mx z"]
    claimed = [row for each in leased for row in await store.write(queue_claim.claim, each.id, "two", 10, 60)]
    assert sorted(row.recipient for row in claimed) == sorted(
        ["put off@x", "never tried@x", "urgent@x", "leased@z", "new@x"]
    )


async def test_the_sweep_leaves_waits_as_long_as_settings_allow(store: Store, clock: Clock) -> None:
    await put(store, "a@x")
    await put_off(store, clock.now + 8 * 24 * 3600)
    await put(store, "b@y", to="mx y", not_before=clock.now + 300 * 24 * 3600)
    await store.write(lambda tx: tx.run("UPDATE destinations SET blocked_until = ?", (clock.now + 24 * 3600,)))
    before = await store.read(destinations.page)
    await store.write(destinations.sweep)
    assert await store.read(destinations.page) == before
    assert [each.blocked_until for each in before] == [clock.now + 24 * 3600] * 2


async def test_the_sweep_mends_what_only_an_old_sqlite3_could_have_done(store: Store, clock: Clock) -> None:
    """Triggers that did not run: all is put right within one round of the sweep."""
    ids = [id for number in range(5) for id in await put(store, f"1@{number}", to=f"mx {number}")]
    (stray,) = await put(store, "stray@x", to="")

    def damage(tx: Tx) -> None:
        tx.run("UPDATE destinations SET due_at = 99999999999 WHERE id < 3")
        tx.run("UPDATE message_queue SET next_retry_at = NULL WHERE id = ?", (stray,))
        if tx.engine == "sqlite":
            tx.run("INSERT OR REPLACE INTO destinations (id, name) SELECT 77, name FROM destinations WHERE id = 4")
        else:
            tx.run("UPDATE destinations SET id = 77, due_at = NULL WHERE id = 4")

    await store.write(damage)
    assert await store.check() != []
    heard = asyncio.Event()
    store.on_commit(lambda touched: heard.set() if QUEUE in touched else None)
    steps = 0
    while await store.write(destinations.sweep, 2):
        steps += 1
    assert steps == 3
    assert await store.check() == []
    assert {row.id for row in await store.read(queue_claim.unrouted, 9)} == {ids[3], stray}
    assert (await due(store))["mx 0"] == clock.now
    await asyncio.wait_for(heard.wait(), 5)
    assert await store.write(destinations.sweep, 100) == 0


async def test_the_systems_sqlite3_and_the_queue(sqlite_store: Store, folder: Path, clock: Clock) -> None:
    store = sqlite_store
    await put(store, "1@x", "2@x")
    await put_off(store, clock.now + 900)

    def outside(sql: str) -> None:
        subprocess.run(["sqlite3", "-cmd", ".timeout 5000", folder / "smtp.db", sql], check=True)

    store.notice_changes([])
    outside("UPDATE message_queue SET next_retry_at = 5 WHERE id = 2;")
    assert store.notice_changes([]) == {QUEUE}
    (destination,) = await store.write(queue_claim.due_destinations, "one", 9, 60)
    assert [row.id for row in await store.write(queue_claim.claim, destination.id, "one", 9, 60)] == [2]
    outside("DELETE FROM message_queue WHERE created_at < strftime('%s','now','-30 days');")
    await store.write(queue_settle.defer, [(2, clock.now + 5, "450", "")])
    await leave(store, destination.id)
    assert await due(store) == {"mx x": None}
    columns = "from_address, to_address, message_data, created_at"
    outside(f"INSERT INTO message_queue ({columns}) VALUES ('a@b.c', 'd@e.f', 'Subject: x', strftime('%s','now'));")
    await store.write(destinations.sweep)
    (row,) = await store.read(queue_claim.unrouted, 9)
    await store.write(queue_claim.assign, [(row.id, "mx e.f", None)])
    (destination,) = await store.write(queue_claim.due_destinations, "one", 9, 60)
    (claimed,) = await store.write(queue_claim.claim, destination.id, "one", 9, 60)
    assert claimed.size == 10
    outside("VACUUM; DELETE FROM message_queue; DELETE FROM destinations;")


async def test_what_the_docs_say_may_be_done_by_hand(sqlite_store: Store, folder: Path, clock: Clock) -> None:
    text = (Path(__file__).parents[3] / "docs/database.md").read_text()
    statements = text.partition("```sql")[2].partition("```")[0]
    assert statements.count(";") == 5
    await put(sqlite_store, "1@example.net", "2@x")
    await put(sqlite_store, "3@x", sender="x@example.com")
    (destination,) = await sqlite_store.write(queue_claim.due_destinations, "one", 1, 60)
    for row in await sqlite_store.write(queue_claim.claim, destination.id, "one", 9, 60):
        await sqlite_store.write(queue_settle.defer, [(row.id, clock.now + 9**10, "450", "")])
    clock.now += 9**9  # later than the clock of this machine
    subprocess.run(["sqlite3", "-bail", "-cmd", ".timeout 5000", folder / "smtp.db", statements], check=True)

    def rows(tx: Tx) -> list[Any]:
        return tx.rows(
            "SELECT to_address, status, typeof(next_retry_at), destination_id FROM message_queue ORDER BY id"
        )

    assert await sqlite_store.read(rows) == [
        ("2@x", "retry", "integer", None), ("3@x", "held", "null", 1), ("you@example.net", "pending", "null", None),
    ]  # fmt: skip
    await sqlite_store.write(destinations.sweep)
    assert {row.recipient for row in await sqlite_store.read(queue_claim.unrouted, 9)} == {"2@x", "you@example.net"}
    await sqlite_store.write(lambda tx: tx.run("DELETE FROM message_queue WHERE blob_id IS NULL"))


async def test_a_row_held_or_buried_by_hand_rests(store: Store) -> None:
    held, dead = await put(store, "1@x", "2@x")
    (destination,) = await store.write(queue_claim.due_destinations, "one", 1, 60)
    await store.write(queue_claim.claim, destination.id, "one", 9, 60)
    for queue_id, status in ((held, "held"), (dead, "failed")):
        await store.write(
            lambda tx, to=(status, queue_id): tx.run("UPDATE message_queue SET status = ? WHERE id = ?", to)
        )
    rows = await store.read(
        lambda tx: tx.rows("SELECT status, next_retry_at, claimed_by FROM message_queue ORDER BY id")
    )
    assert rows == [("held", None, "one"), ("failed", None, "one")]  # who sends them has them until he says
    await store.write(queue_settle.defer, [(held, 5, "450", "")], holder="one")
    assert await store.write(queue_claim.claim, destination.id, "two", 9, 60) == []
    await store.write(queue_settle.let_go, "one", [held, dead])
    assert await store.read(lambda tx: tx.rows("SELECT DISTINCT claimed_by FROM message_queue")) == [("",)]


# Several nodes on one PostgreSQL.


@pytest.fixture
async def nodes(postgres_url: str, clock: Clock) -> AsyncIterator[tuple[Store, Store]]:
    one, two = await open_store(postgres_url, clock=clock), await open_store(postgres_url, clock=clock)
    yield one, two
    problems = await one.check()
    await one.close()
    await two.close()
    assert problems == []


async def test_two_nodes_claim_at_once(nodes: tuple[Store, Store]) -> None:
    """Each row is claimed by one of them, and neither waits for the other's transaction."""
    one, two = nodes
    await put(one, *(f"{number}@x" for number in range(100)))
    claimed, done = threading.Event(), threading.Event()

    def slowly(tx: Tx) -> list[int]:
        rows = queue_claim.claim(tx, 1, "one", 60, 60)
        claimed.set()
        assert done.wait(10)
        return [row.id for row in rows]

    first = one.write(slowly)
    await asyncio.to_thread(claimed.wait, 10)
    second = await asyncio.wait_for(two.write(queue_claim.claim, 1, "two", 60, 60), 10)
    done.set()
    mine, theirs = set(await first), {row.id for row in second}
    assert (len(mine), len(theirs)) == (60, 40)
    assert not mine & theirs


async def test_two_nodes_lease_at_once(nodes: tuple[Store, Store]) -> None:
    one, two = nodes
    for number in range(10):
        await put(one, "1@x", to=f"mx {number}", priority=number % 2)
    leased, done = threading.Event(), threading.Event()

    def slowly(tx: Tx) -> set[str]:
        found = queue_claim.due_destinations(tx, "one", 6, 60)
        leased.set()
        assert done.wait(10)
        return {destination.name for destination in found}

    first = one.write(slowly)
    await asyncio.to_thread(leased.wait, 10)
    second = await asyncio.wait_for(two.write(queue_claim.due_destinations, "two", 10, 60), 10)
    await asyncio.wait_for(put(two, "new@x", to="mx 1"), 10)  # a lease keeps nobody from queueing
    done.set()
    mine, theirs = await first, {destination.name for destination in second}
    assert not mine & theirs
    rest = {destination.name for destination in await two.write(queue_claim.due_destinations, "two", 10, 60)}
    assert len(mine) == 6
    assert len(theirs | rest) == len(theirs) + len(rest) == 4


@pytest.mark.parametrize("first", ["who leaves", "who queues"])
async def test_a_row_queued_while_the_destination_is_left(nodes: tuple[Store, Store], clock: Clock, first: str) -> None:
    """Whoever comes first, the new row is not forgotten until the others are due."""
    one, two = nodes
    await put(one, "1@x")
    (destination,) = await one.write(queue_claim.due_destinations, "one", 9, 60)
    (row,) = await one.write(queue_claim.claim, destination.id, "one", 9, 60)
    await one.write(queue_settle.defer, [(row.id, clock.now + 900, "450", "")])
    began, done = threading.Event(), threading.Event()
    plan = Queued("a@b.c", "2@x", destination="mx x", not_before=clock.now + 100)

    def leaving(tx: Tx) -> None:
        left = {"failures": 0, "concurrency": 0, "blocked_until": None, "last_error": ""}
        queue_claim.leave(tx, destination.id, "one", **left)

    def queueing(tx: Tx) -> None:
        messages.deliver(tx, message(), [plan])

    def slowly(tx: Tx) -> None:
        (leaving if first == "who leaves" else queueing)(tx)
        began.set()
        assert done.wait(10)

    slow = one.write(slowly)
    await asyncio.to_thread(began.wait, 10)
    other = two.write(queueing if first == "who leaves" else leaving)
    await asyncio.sleep(0.1)  # long enough to be in the way of the other, if it does not wait for it
    done.set()
    await asyncio.gather(slow, other)
    assert await due(one) == {"mx x": clock.now + 100}


async def test_many_queue_to_new_destinations_at_once(nodes: tuple[Store, Store], clock: Clock) -> None:
    """The same names in any order: nobody waits for one who waits for him."""
    names = [f"mx {number}" for number in range(8)]
    work = []
    for number in range(24):
        turned = names[number % 8 :] + names[: number % 8]
        plans = [Queued("a@b.c", f"{number}@x", destination=name) for name in turned]
        work.append(nodes[number % 2].write(messages.deliver, message(), plans))
    await asyncio.wait_for(asyncio.gather(*work), 20)
    assert await due(nodes[0]) == dict.fromkeys(names, clock.now)


async def test_an_idle_destination_is_not_removed_under_a_new_row(nodes: tuple[Store, Store], clock: Clock) -> None:
    one, two = nodes
    await put(one, "1@x")
    await one.write(lambda tx: tx.run("DELETE FROM message_queue"))
    clock.now += destinations.IDLE
    began, done = threading.Event(), threading.Event()

    def slowly(tx: Tx) -> None:
        messages.deliver(tx, message(), [Queued("a@b.c", "2@x", destination="mx x")])
        began.set()
        assert done.wait(10)

    slow = one.write(slowly)
    await asyncio.to_thread(began.wait, 10)
    await asyncio.wait_for(two.write(destinations.sweep), 10)
    done.set()
    await slow
    (destination,) = await two.write(queue_claim.due_destinations, "two", 9, 60)
    assert len(await two.write(queue_claim.claim, destination.id, "two", 9, 60)) == 1
