"""A large mailbox opened by its packed blocks is what its rows say, whatever happened since they were written."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import Store, Tx, mailboxes, messages, view_blocks
from pillarbox.store.mailboxes import new_uidvalidity
from pillarbox.store.records import User, View
from pillarbox.store.view_blocks import Due


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SPAN": 4, "LEAST": 6, "STALE": 3}.items():
        monkeypatch.setattr(view_blocks, name, value)


def by_blocks(tx: Tx, mailbox_id: int) -> View | None:
    return view_blocks.read(tx, mailboxes.get(tx, mailbox_id))


def by_rows(tx: Tx, mailbox_id: int) -> View:
    view = view_blocks.empty(mailboxes.get(tx, mailbox_id))
    view_blocks.read_rows(tx, view)
    return view


def stored(tx: Tx) -> list[int]:
    return [block for (block,) in tx.rows("SELECT block FROM view_blocks ORDER BY block")]


async def fill(store: Store, user: User, count: int, **more: object) -> int:
    await store.write(messages.deliver, message(), [to(user, **more)] * count)
    return (await inbox_of(store, user)).id


async def pack(store: Store) -> list[Due]:
    """All that is due, in the order in which it was done."""
    done = []
    orders = await store.scan(view_blocks.due)
    while orders:
        done.append(orders.pop())
        await store.write(view_blocks.carry_out, done[-1])
    return done


async def same(store: Store, inbox: int) -> View:
    """What the blocks say, which is what the rows say."""
    packed, rows = await store.read(by_blocks, inbox), await store.read(by_rows, inbox)
    assert packed == rows and packed is not None
    assert await store.read(messages.open_view, inbox) == rows
    return rows


async def test_nothing_is_due_for_a_small_mailbox(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 5)
    assert await pack(store) == []
    assert await store.read(by_blocks, inbox) is None


async def test_whole_blocks_are_packed_and_the_rest_is_read_from_rows(store: Store, alice: User) -> None:
    await fill(store, alice, 5, keywords=("$A", "b"))
    inbox = await fill(store, alice, 6, flags=5)
    done = await pack(store)
    assert [one.order for one in done] == ["drop", "begin", "write", "write", "write", "end"]
    assert await store.read(stored) == [0, 1, 2]
    view = await same(store, inbox)
    assert list(view.uids) == [*range(1, 12)]
    assert view.keywords == dict.fromkeys(range(1, 6), ("$A", "b"))


async def test_what_happened_since_is_brought_in(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 13, keywords=("k",))
    await pack(store)
    await store.write(messages.store_flags, inbox, [1], "set", 2, [])
    await store.write(messages.store_flags, inbox, [2, 12], "add", 1, ["new"])
    assert [*(await same(store, inbox)).flags][:2] == [2, 1]
    await store.write(messages.store_flags, inbox, [4, 5, 6, 13], "add", 8)
    await store.write(messages.expunge, inbox)
    await fill(store, alice, 1)
    assert list((await same(store, inbox)).uids) == [1, 2, 3, 7, 8, 9, 10, 11, 12, 14]


async def test_only_blocks_in_which_something_changed_are_written_anew(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 17)
    await pack(store)
    await store.write(messages.store_flags, inbox, [5, 6], "add", 1)
    assert await pack(store) == []
    await store.write(messages.store_flags, inbox, [14], "add", 8)
    await store.write(messages.expunge, inbox)
    done = await pack(store)
    assert [one.number for one in done if one.order == "write"] == [1, 3]
    assert await pack(store) == []
    await same(store, inbox)
    await fill(store, alice, 8)
    assert [one.number for one in await pack(store) if one.order == "write"] == [4, 5]
    await same(store, inbox)


async def test_it_may_be_ended_anywhere_and_others_may_do_the_same(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 13)
    await pack(store)
    for flag in (1, 2, 4):
        await store.write(messages.store_flags, inbox, [2, 6, 10], "add", flag)
        first, second = await store.scan(view_blocks.due), await store.scan(view_blocks.due)
        await store.write(view_blocks.carry_out, first.pop())
        await same(store, inbox)
        await store.write(messages.store_flags, inbox, [3], "add", flag)  # in a block that was written just now
        await store.write(messages.store_flags, inbox, [11], "add", flag)
        while second:
            await store.write(view_blocks.carry_out, second.pop())
            await same(store, inbox)
        await store.write(messages.store_flags, inbox, [11], "remove", flag)
        for order in reversed(first):
            await store.write(view_blocks.carry_out, order)
            await same(store, inbox)


async def test_what_was_begun_only_is_not_read_and_begins_anew(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 13)
    orders = await store.scan(view_blocks.due)
    for _ in range(3):
        await store.write(view_blocks.carry_out, orders.pop())
    assert await store.read(stored) == [0]
    assert await store.read(by_blocks, inbox) is None
    await pack(store)
    assert await store.read(stored) == [0, 1, 2]
    await same(store, inbox)


async def test_a_new_uidvalidity_or_a_short_history_begins_anew(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 13)
    await pack(store)

    def renumber(tx: Tx) -> None:
        tx.run("UPDATE mailboxes SET uidvalidity = ? WHERE id = ?", (new_uidvalidity(tx), inbox))

    await store.write(renumber)
    assert await store.read(by_blocks, inbox) is None
    assert [one.order for one in await pack(store)][:5] == ["drop", "drop", "drop", "begin", "write"]
    await same(store, inbox)
    await store.write(messages.store_flags, inbox, [1, 2], "add", 8)
    await store.write(messages.expunge, inbox, [1])
    await store.write(messages.expunge, inbox, [2])
    await store.write(messages.trim_history, inbox, 0)
    assert await store.read(by_blocks, inbox) is None
    assert len((await store.read(messages.open_view, inbox)).uids) == 11
    await pack(store)
    await same(store, inbox)


async def test_rows_removed_by_hand_are_noticed(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 8)
    await pack(store)

    def by_hand(tx: Tx) -> None:
        tx.run("DELETE FROM messages WHERE mailbox_id = ? AND uid = 3", (inbox,))
        tx.run("UPDATE mailboxes SET message_count = 7, unseen_count = 7 WHERE id = ?", (inbox,))

    await store.write(by_hand)
    assert await store.read(by_blocks, inbox) is None
    assert list((await store.read(messages.open_view, inbox)).uids) == [1, 2, 4, 5, 6, 7, 8]
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = (SELECT sum(size) FROM messages)"))
    size = "UPDATE mailboxes SET total_size = (SELECT sum(size) FROM messages) WHERE id = ?"
    await store.write(lambda tx: tx.run(size, (inbox,)))


async def test_blocks_of_mailboxes_that_became_small_or_were_deleted_go(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 9)
    box = await store.write(mailboxes.create, alice.id, "Other")
    await store.write(messages.copy, inbox, range(1, 10), box.id)
    await pack(store)
    assert await store.read(stored) == [0, 0, 1, 1]
    await store.write(mailboxes.delete, alice.id, "Other")
    await store.write(messages.store_flags, inbox, [1, 2, 3, 4, 5, 6, 7], "add", 8)
    await store.write(messages.expunge, inbox)
    await pack(store)
    assert await store.read(stored) == []
    assert await pack(store) == []


async def test_a_block_with_very_many_keywords_is_not_kept(
    store: Store, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_blocks, "_MOST_WORDS", 20)
    inbox = await fill(store, alice, 12, keywords=("same", "words"))
    await pack(store)
    assert await store.read(stored) == [0, 1, 2]
    await store.write(messages.store_flags, inbox, [5], "add", 0, ["another"])
    await store.write(messages.store_flags, inbox, [1, 10], "add", 1)
    await pack(store)
    assert await store.read(stored) == [0, 2]
    await same(store, inbox)


async def test_check_reads_blocks(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 9)
    await pack(store)
    await store.write(lambda tx: tx.run("UPDATE messages SET flags = 4 WHERE uid = 2"))
    said = await store.check()
    assert any(f"packed columns of mailbox {inbox} are not what" in line for line in said)
    await store.write(lambda tx: tx.run("UPDATE view_blocks SET data = ?", (b"nothing",)))
    said = await store.check()
    assert any(f"packed columns of mailbox {inbox} are damaged" in line for line in said)
    await store.write(messages.store_flags, inbox, [3], "add", 2)
    assert [*(await store.read(messages.open_view, inbox)).flags][:4] == [0, 4, 2, 0]
    await store.write(lambda tx: tx.run("DELETE FROM view_packs"))
