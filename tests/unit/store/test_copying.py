"""copy, move, expunge and the history of expunges."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import NotFound, OverQuota, Store, directory, mailboxes, messages
from pillarbox.store.records import Mailbox, User


async def five(store: Store, user: User) -> tuple[Mailbox, Mailbox]:
    plans = [to(user, flags=flags, keywords=("k",) if flags else ()) for flags in (0, 1, 8, 9, 4)]
    await store.write(messages.deliver, message(), plans)
    return await inbox_of(store, user), await store.read(mailboxes.status, user.id, "Archive")


async def test_copy_keeps_flags_and_dates_and_says_the_new_uids(store: Store, alice: User) -> None:
    inbox, archive = await five(store, alice)
    done = await store.write(messages.copy, inbox.id, [5, 2, 77], archive.id)
    assert done.uids == [(2, 1), (5, 2)]
    assert done.uidvalidity == archive.uidvalidity
    view = await store.read(messages.open_view, archive.id)
    assert list(view.flags) == [1, 4]
    assert view.keywords == {1: ("k",), 2: ("k",)}
    assert (await inbox_of(store, alice)).message_count == 5


async def test_copy_onto_itself(store: Store, alice: User) -> None:
    inbox, _ = await five(store, alice)
    done = await store.write(messages.copy, inbox.id, [1, 2], inbox.id)
    assert done.uids == [(1, 6), (2, 7)]
    assert (await inbox_of(store, alice)).message_count == 7


async def test_copy_counts_against_the_quota_and_move_does_not(store: Store, alice: User) -> None:
    inbox, archive = await five(store, alice)
    await store.write(directory.set_quota, "alice", inbox.total_size)
    with pytest.raises(OverQuota):
        await store.write(messages.copy, inbox.id, [1], archive.id)
    done = await store.write(messages.move, inbox.id, [1, 3], archive.id)
    assert done.uids == [(1, 1), (3, 2)]
    assert done.modseq == (await inbox_of(store, alice)).highestmodseq
    changes = await store.read(messages.changes, inbox.id, inbox.highestmodseq, inbox.uidnext)
    assert changes.vanished == [1, 3]


async def test_move_to_another_account_moves_the_charge(store: Store, alice: User, bob: User) -> None:
    inbox, _ = await five(store, alice)
    theirs = await inbox_of(store, bob)
    await store.write(messages.move, inbox.id, [1, 2, 3, 4, 5], theirs.id)
    assert (await store.read(directory.get_user, alice.id)).quota_used == 0
    assert (await store.read(directory.get_user, bob.id)).quota_used == inbox.total_size


async def test_copying_nothing(store: Store, alice: User) -> None:
    inbox, archive = await five(store, alice)
    assert (await store.write(messages.copy, inbox.id, [], archive.id)).uids == []
    done = await store.write(messages.move, inbox.id, [99], archive.id)
    assert (done.uids, done.modseq) == ([], inbox.highestmodseq)
    with pytest.raises(NotFound):
        await store.write(messages.copy, inbox.id, [1], 999)


async def test_expunge_takes_what_is_deleted(store: Store, alice: User) -> None:
    inbox, _ = await five(store, alice)
    done = await store.write(messages.expunge, inbox.id)
    assert done.uids == [3, 4]
    after = await inbox_of(store, alice)
    assert (after.message_count, after.deleted_count, after.unseen_count) == (3, 0, 2)
    assert after.highestmodseq == done.modseq
    again = await store.write(messages.expunge, inbox.id)
    assert (again.uids, again.modseq) == ([], done.modseq)


async def test_uid_expunge_takes_only_those_named(store: Store, alice: User) -> None:
    inbox, _ = await five(store, alice)
    assert (await store.write(messages.expunge, inbox.id, [1, 4])).uids == [4]


async def test_a_message_id_is_never_used_again(store: Store, alice: User) -> None:
    inbox, _ = await five(store, alice)
    old = set((await store.read(messages.open_view, inbox.id)).ids)
    await store.write(messages.store_flags, inbox.id, [1, 2, 3, 4, 5], "add", 8)
    await store.write(messages.expunge, inbox.id)
    await store.write(messages.deliver, message(), [to(alice)])
    assert not old & set((await store.read(messages.open_view, inbox.id)).ids)


async def test_ten_thousand_at_once(store: Store, alice: User) -> None:
    inbox, archive = await five(store, alice)

    def multiply(tx: object) -> None:
        for _ in range(11):
            count = mailboxes.get(tx, inbox.id).uidnext  # type: ignore[arg-type]
            messages.copy(tx, inbox.id, range(1, count), inbox.id)  # type: ignore[arg-type]

    await store.write(multiply)
    uids = list(range(1, 5 * 2**11 + 1))
    assert len((await store.write(messages.store_flags, inbox.id, uids, "add", 8, ["all"])).changed) == len(uids)
    assert len((await store.write(messages.move, inbox.id, uids, archive.id)).uids) == len(uids)
    assert (await store.write(messages.expunge, archive.id)).uids == uids


async def test_what_was_expunged_of_late_is_settled_once(store: Store, alice: User) -> None:
    inbox, archive = await five(store, alice)
    await store.write(messages.expunge, inbox.id)
    await store.write(messages.move, inbox.id, [1, 2], archive.id)
    done = [await store.write(messages.settle, 3) for _ in range(3)]
    assert done == [3, 1, 0]
    view = await store.read(messages.open_view, inbox.id)
    assert list(view.uids) == [5]
    assert (await store.read(messages.changes, inbox.id, inbox.highestmodseq, 6)).vanished == [1, 2, 3, 4]
