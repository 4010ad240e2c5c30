"""open_view, changes, rendered: a session's view kept up to date sees what a fresh one sees."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import NotFound, Store, messages, undelete
from pillarbox.store.records import User


async def fill(store: Store, user: User, count: int) -> int:
    await store.write(messages.deliver, message(), [to(user)] * count)
    return (await inbox_of(store, user)).id


async def test_an_empty_mailbox(store: Store, alice: User) -> None:
    inbox = await inbox_of(store, alice)
    view = await store.read(messages.open_view, inbox.id)
    assert (list(view.uids), view.keywords, view.mailbox) == ([], {}, inbox)


async def test_more_messages_than_a_page(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillarbox.store import view_blocks

    monkeypatch.setattr(view_blocks, "_PAGE", 3)
    inbox = await fill(store, alice, 9)
    view = await store.read(messages.open_view, inbox)
    assert list(view.uids) == [*range(1, 10)]
    assert len(view.ids) == len(view.modseqs) == len(view.save_dates) == 9


async def test_a_large_view_is_opened_in_a_thread(sqlite_store: Store) -> None:
    from pillarbox.store import Busy, directory

    user = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    inbox = await fill(sqlite_store, user, 201)
    with pytest.raises(Busy):
        sqlite_store.peek(messages.open_view, inbox)
    assert len((await sqlite_store.read(messages.open_view, inbox)).uids) == 201


async def test_changes_tell_what_is_new_changed_and_gone(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 4)
    before = (await store.read(messages.open_view, inbox)).mailbox
    await store.write(messages.store_flags, inbox, [2], "add", 1, ["k"])
    await store.write(messages.store_flags, inbox, [3], "add", 8)
    await store.write(messages.expunge, inbox)
    await store.write(messages.deliver, message(), [to(alice, flags=2)])
    changes = await store.read(messages.changes, inbox, before.highestmodseq, before.uidnext)
    assert [(row.uid, row.flags) for row in changes.new] == [(5, 2)]
    assert [(uid, flags, words) for uid, flags, words, _ in changes.changed] == [(2, 1, ("k",))]
    assert changes.vanished == [3]
    assert changes.mailbox.highestmodseq > before.highestmodseq
    nothing = await store.read(messages.changes, inbox, changes.mailbox.highestmodseq, changes.mailbox.uidnext)
    assert (nothing.new, nothing.changed, nothing.vanished) == ([], [], [])


async def test_what_came_and_went_in_between_is_not_told(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 1)
    before = (await store.read(messages.open_view, inbox)).mailbox
    await store.write(messages.deliver, message(), [to(alice, flags=8)])
    await store.write(messages.expunge, inbox)
    changes = await store.read(messages.changes, inbox, before.highestmodseq, before.uidnext)
    assert (changes.new, changes.changed, changes.vanished) == ([], [], [])
    assert changes.mailbox.uidnext == 3


async def test_a_history_that_is_too_short_says_so(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 5)
    before = (await store.read(messages.open_view, inbox)).mailbox
    for uid in (1, 2, 3):
        await store.write(messages.store_flags, inbox, [uid], "add", 8)
        await store.write(messages.expunge, inbox)
    middle = (await store.read(messages.open_view, inbox)).mailbox
    await store.write(messages.store_flags, inbox, [4], "add", 8)
    await store.write(messages.expunge, inbox)
    await store.write(undelete.forget, 1 << 40)
    assert await store.write(messages.trim_history, inbox, 1) == 3
    assert (await store.read(messages.changes, inbox, before.highestmodseq, 6)).vanished is None
    assert (await store.read(messages.changes, inbox, middle.highestmodseq, 6)).vanished == [4]


async def test_rendered_keeps_the_order_and_leaves_out_what_never_was(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 3)
    ids = list((await store.read(messages.open_view, inbox)).ids)
    got = await store.read(messages.rendered, [ids[2], 99_999, ids[0]])
    assert [one.id for one in got] == [ids[2], ids[0]]
    assert await store.read(messages.rendered, []) == []


async def test_an_expunged_message_can_still_be_read_by_an_old_view(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 2)
    view = await store.read(messages.open_view, inbox)
    await store.write(messages.store_flags, inbox, [1, 2], "add", 8)
    await store.write(messages.expunge, inbox)
    assert [one.subject for one in await store.read(messages.rendered, list(view.ids))] == ["hello", "hello"]
    assert len(await store.read(messages.rendered, [view.ids[0]])) == 1


async def test_recent_belongs_to_the_first_session(store: Store, alice: User) -> None:
    inbox = await fill(store, alice, 2)
    assert await store.read(messages.count_recent, inbox) == 2
    assert await store.write(messages.claim_recent, inbox) == 1
    assert await store.write(messages.claim_recent, inbox) == 3
    await fill(store, alice, 1)
    assert await store.read(messages.count_recent, inbox) == 1


async def test_no_such_mailbox(store: Store) -> None:
    for function in (messages.open_view, messages.claim_recent):
        with pytest.raises(NotFound):
            await store.write(function, 77)
    with pytest.raises(NotFound):
        await store.read(messages.changes, 77, 0, 1)
