"""Summaries of messages say what the rows of those messages say, whatever happened since they were written."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import Store, Tx, mailboxes, messages, summaries
from pillarbox.store.records import User
from pillarbox.store.summaries import KINDS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SPAN": 4, "LEAST": 4, "_BATCH": 2}.items():
        monkeypatch.setattr(summaries, name, value)


async def fill(store: Store, user: User, count: int, **more: object) -> int:
    await store.write(messages.deliver, message(), [to(user, **more)] * count)
    return (await inbox_of(store, user)).id


async def pack(store: Store) -> int:
    """Write all that are due; how many."""
    count = 0
    while found := await store.scan(summaries.due):
        while found:
            count += await store.write(summaries.put, found.pop())
    return count


async def tidy(store: Store) -> int:
    found = await store.scan(summaries.thinned)
    for summary_id in reversed(found):
        await store.write(summaries.tidy, summary_id)
    return len(found)


async def remove(store: Store, inbox: int, *uids: int) -> None:
    await store.write(messages.store_flags, inbox, uids, "add", 8)
    await store.write(messages.expunge, inbox)


def uids(tx: Tx, mailbox_id: int) -> list[list[int]]:
    """The UIDs in each summary; what it tells of them is compared with the rows."""
    found = []
    for place in summaries.places(tx, mailbox_id, 1, 1 << 31):
        stored = summaries.read(tx, place.id, KINDS)
        assert stored is not None
        ids, columns = stored
        assert len(ids) == place.messages
        for told, true in zip(columns, messages.listed(tx, ids, KINDS), strict=True):
            here = [at for at, value in enumerate(true) if value is not None]
            assert [told[at] for at in here] == [true[at] for at in here]
        known = dict(tx.rows("SELECT id, uid FROM messages WHERE mailbox_id = ?", (mailbox_id,)))
        known |= dict(tx.rows("SELECT id, uid FROM expunged WHERE mailbox_id = ?", (mailbox_id,)))
        found.append([known[row_id] for row_id in ids])
        assert place.first <= min(found[-1]) <= max(found[-1]) <= place.last
    return found


async def test_full_ones_are_written_and_the_rest_waits(store: Store, alice: User, bob: User) -> None:
    inbox = await fill(store, alice, 3)
    assert await pack(store) == 0
    await fill(store, alice, 15)
    other = await fill(store, bob, 5)
    assert await pack(store) == 5
    assert await store.read(uids, inbox) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]
    assert await store.read(uids, other) == [[1, 2, 3, 4]]
    assert await pack(store) == 0
    await fill(store, alice, 2)
    assert await pack(store) == 1
    assert [place[1:] for place in await store.read(summaries.places, inbox, 8, 13)] == [
        (5, 8, 4),
        (9, 12, 4),
        (13, 16, 4),
    ]


async def test_what_was_expunged_is_taken_out_and_small_ones_are_joined(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 20)
    await pack(store)
    await remove(store, inbox, 2, 3, 6, 7, 14, *range(17, 21))
    assert await store.read(uids, inbox) == [[*range(at, at + 4)] for at in range(1, 20, 4)]
    assert await tidy(store) == 4
    assert await store.read(uids, inbox) == [[1, 4, 5, 8], [9, 10, 11, 12], [13, 15, 16]]
    assert await tidy(store) == 0
    await fill(store, alice, 4)
    assert await pack(store) == 1
    assert (await store.read(uids, inbox))[3] == [21, 22, 23, 24]


async def test_a_long_value_and_one_of_an_older_version_are_left_to_their_rows(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 4, prefix=b"Return-Path: <a@b>\r\nReceived: x\r\n")
    await store.write(lambda tx: tx.run("UPDATE blobs SET envelope = ?", (b"(" + b"x" * 9000 + b")",)))
    await pack(store)
    (place,) = await store.read(summaries.places, inbox, 1, 4)
    ids, (header, envelope) = await store.read(summaries.read, place.id, ["header", "envelope"])
    assert len(ids) == 4
    assert header[0].startswith(b"Return-Path: <a@b>\r\n") and b"Received" not in header[0]
    assert envelope == [None] * 4
    await store.write(lambda tx: tx.run("DELETE FROM summaries"))
    await store.write(lambda tx: tx.run("UPDATE blobs SET listed = NULL"))
    await pack(store)
    (place,) = await store.read(summaries.places, inbox, 1, 4)
    assert (await store.read(summaries.read, place.id, ["header"]))[1] == [[None] * 4]


async def test_the_last_one_grows(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "SPAN", 5)
    monkeypatch.setattr(summaries, "LEAST", 2)
    inbox = await fill(store, alice, 1)
    assert await pack(store) == 0
    await fill(store, alice, 1)
    assert await pack(store) == 1
    await fill(store, alice, 2)
    await remove(store, inbox, 1)
    assert await pack(store) == 1
    assert await store.read(uids, inbox) == [[2, 3, 4]]
    await fill(store, alice, 3)
    assert await pack(store) == 1
    assert await store.read(uids, inbox) == [[2, 3, 4], [5, 6, 7]]
    await fill(store, alice, 2)
    assert await pack(store) == 1
    assert await store.read(uids, inbox) == [[2, 3, 4], [5, 6, 7, 8, 9]]


async def test_one_with_much_in_it_ends_earlier(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = await fill(store, alice, 8)
    octets = await store.read(lambda tx: tx.row("SELECT length(listed || bodystructure || envelope) FROM blobs")[0])
    monkeypatch.setattr(summaries, "OCTETS", 2 * octets)
    assert await pack(store) == 2
    assert await store.read(uids, inbox) == [[1, 2, 3], [4, 5, 6]]
    await remove(store, inbox, 2, 6)
    assert await tidy(store) == 2
    assert await store.read(uids, inbox) == [[1, 3], [4, 5]]  # four would be too much
    await remove(store, inbox, 1, 4)
    assert await tidy(store) == 2
    assert await store.read(uids, inbox) == [[3, 5]]


async def test_two_that_write_the_same_write_it_once(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 9)
    first = await store.scan(summaries.due)
    await remove(store, inbox, 1)
    second = await store.scan(summaries.due)  # 2 to 5, 6 to 9
    for found in (first, second):
        while found:
            await store.write(summaries.put, found.pop())
    assert await store.read(uids, inbox) == [[1, 2, 3, 4], [5, 6, 7, 8]]


async def test_those_of_a_deleted_mailbox_go_with_it(store: Store, alice: User) -> None:
    box = await store.write(mailboxes.create, alice.id, "Other")
    inbox = await fill(store, alice, 9)
    await store.write(messages.move, inbox, range(1, 10), box.id)
    found = await store.scan(summaries.due)
    await store.write(summaries.put, found.pop())
    await store.write(mailboxes.delete, alice.id, "Other")
    await tidy(store)
    while await store.write(mailboxes.purge_deleted):
        pass
    await store.write(summaries.put, found.pop())  # it was made before
    assert await store.read(lambda tx: tx.rows("SELECT id FROM summaries")) == []


async def test_another_form_is_not_read_and_made_anew(
    store: Store, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = await fill(store, alice, 4)
    await pack(store)
    monkeypatch.setattr(summaries, "FORM", 99)
    assert await store.read(summaries.places, inbox, 1, 4) == []
    assert await pack(store) == 1
    assert await tidy(store) == 1
    assert await store.read(lambda tx: tx.rows("SELECT form FROM summaries")) == [(99,)]
    assert await store.read(uids, inbox) == [[1, 2, 3, 4]]
    await store.write(lambda tx: tx.run("DELETE FROM summaries"))


async def test_check_reads_them(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 8)
    await pack(store)
    assert await store.check() == []
    await store.write(lambda tx: tx.run("UPDATE blobs SET envelope = ?", (b"(other)",)))
    said = await store.check()
    assert any(f"of mailbox {inbox} is not what the rows" in line for line in said)
    await store.write(lambda tx: tx.run("UPDATE summaries SET header = ids"))
    said = await store.check()
    assert any(f"of mailbox {inbox} is damaged" in line for line in said)
    await remove(store, inbox, 1)
    assert await tidy(store) == 1  # what cannot be read goes
    assert len(await store.read(summaries.places, inbox, 1, 8)) == 1
    await store.write(lambda tx: tx.run("DELETE FROM summaries"))
