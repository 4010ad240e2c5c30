"""Messages that an older program has stored get the header fields that lists show, once and in small steps."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.server import jobs
from pillarbox.store import Store, Tx, messages, summaries, unlisted
from pillarbox.store.records import User


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlisted, "_BATCH", 3)
    monkeypatch.setattr(summaries, "SPAN", 4)
    monkeypatch.setattr(summaries, "LEAST", 4)


async def listed(store: Store) -> list[bytes | None]:
    rows = await store.read(lambda tx: tx.rows("SELECT listed FROM blobs ORDER BY id"))
    return [None if value is None else bytes(value) for (value,) in rows]


async def by_an_older_program(store: Store, user: User, count: int) -> list[bytes | None]:
    """So many messages without these fields; what a newer one would have kept with them."""
    for at in range(count):
        subject = f"number {at}" if at != 2 else "x" * 70_000  # so many octets are not kept
        await store.write(messages.deliver, message(subject), [to(user)])
    kept = await listed(store)
    await store.write(lambda tx: tx.run("UPDATE blobs SET listed = NULL"))
    return kept


async def work(store: Store, most: int = 1000) -> int:
    """The job, as long as there is something, or so many steps; how many."""
    steps = 0
    while steps < most and (found := await store.scan(jobs.listed_due)):
        while found:
            await store.write(jobs.put_listed, found.pop())
            steps += 1
    return steps


async def test_they_are_made_as_at_delivery(store: Store, alice: User) -> None:
    kept = await by_an_older_program(store, alice, 8)
    assert kept[2] is None and kept[3] is not None
    assert await work(store, 1) == 1
    assert await listed(store) == [*kept[:4], *[None] * 4]  # a restart goes on from there
    await work(store)
    assert await listed(store) == kept
    assert await work(store) == 0
    await store.write(messages.deliver, message("later"), [to(alice)])
    assert await work(store) == 1  # it is looked at and has them
    assert await work(store) == 0


async def test_a_summary_that_was_made_before_is_made_anew(store: Store, alice: User) -> None:
    kept = await by_an_older_program(store, alice, 9)
    inbox = (await inbox_of(store, alice)).id
    for one in reversed(await store.scan(summaries.due)):
        await store.write(summaries.put, one)

    def headers(tx: Tx) -> list[bytes | None]:
        found = [summaries.read(tx, place.id, ["header"]) for place in summaries.places(tx, inbox, 1, 99)]
        return [value for one in found if one is not None for value in one[1][0]]

    assert await store.read(headers) == [None] * 8
    await work(store)
    assert await store.read(headers) == kept[:8]


async def test_what_is_damaged_is_passed_over(store: Store, alice: User) -> None:
    kept = await by_an_older_program(store, alice, 2)
    chunks = await store.read(lambda tx: tx.rows("SELECT blob_id, data FROM blob_chunks ORDER BY id"))
    await store.write(lambda tx: tx.run("UPDATE blob_chunks SET data = ? WHERE blob_id = ?", (b"\1x", chunks[0][0])))
    await work(store)
    assert await listed(store) == [None, kept[1]]
    await store.write(lambda tx: tx.run("UPDATE blob_chunks SET data = ? WHERE blob_id = ?", chunks[0][::-1]))
