"""Mailboxes: names, parents, INBOX, renaming trees, deleting, subscriptions."""

import pytest
from store_samples import Clock, inbox_of, message, to

from pillarbox.store import Conflict, Invalid, NotFound, Store, directory, mailboxes, messages
from pillarbox.store.mailbox_names import normalised
from pillarbox.store.records import User


async def names(store: Store, user: User) -> list[str]:
    return [mailbox.name for mailbox in await store.read(mailboxes.list_mailboxes, user.id)]


async def test_a_new_account_has_its_mailboxes(store: Store, alice: User) -> None:
    found = await store.read(mailboxes.list_mailboxes, alice.id)
    assert {m.name: m.special_use for m in found} == {
        "INBOX": None,
        "Drafts": "\\Drafts",
        "Sent": "\\Sent",
        "Archive": "\\Archive",
        "Junk": "\\Junk",
        "Trash": "\\Trash",
    }
    assert all(m.subscribed and m.uidnext == 1 for m in found)


async def test_create_makes_the_parents(store: Store, alice: User) -> None:
    made = await store.write(mailboxes.create, alice.id, "a/b/c/")
    assert made.name == "a/b/c"
    assert {"a", "a/b", "a/b/c"} <= set(await names(store, alice))
    assert not made.subscribed
    with pytest.raises(Conflict):
        await store.write(mailboxes.create, alice.id, "a/b")


async def test_inbox_in_any_spelling(store: Store, alice: User) -> None:
    inbox = await inbox_of(store, alice)
    assert await store.read(mailboxes.find, alice.id, "iNbOx") == inbox
    below = await store.write(mailboxes.create, alice.id, "inbox/lists")
    assert below.name == "INBOX/lists"
    with pytest.raises(Conflict):
        await store.write(mailboxes.create, alice.id, "Inbox")
    with pytest.raises(Invalid):
        await store.write(mailboxes.delete, alice.id, "inbox")


async def test_uidvalidity_only_grows(store: Store, alice: User, clock: Clock) -> None:
    first = await store.write(mailboxes.create, alice.id, "x")
    await store.write(mailboxes.delete, alice.id, "x")
    second = await store.write(mailboxes.create, alice.id, "x")
    clock.now -= 1_000_000
    await store.write(mailboxes.delete, alice.id, "x")
    third = await store.write(mailboxes.create, alice.id, "x")
    assert first.uidvalidity < second.uidvalidity < third.uidvalidity
    assert first.id < second.id < third.id


async def test_rename_takes_the_children_and_subscriptions_along(store: Store, alice: User) -> None:
    made = await store.write(mailboxes.create, alice.id, "a/b/c")
    await store.write(mailboxes.create, alice.id, "ab")
    await store.write(mailboxes.subscribe, alice.id, "a/b/c")
    renamed = await store.write(mailboxes.rename, alice.id, "a/b", "z/y")
    assert renamed.name == "z/y"
    after = await names(store, alice)
    assert {"a", "ab", "z", "z/y", "z/y/c"} <= set(after)
    assert not {"a/b", "a/b/c"} & set(after)
    moved = await store.read(mailboxes.status, alice.id, "z/y/c")
    assert (moved.id, moved.uidvalidity, moved.subscribed) == (made.id, made.uidvalidity, True)


async def test_rename_refuses(store: Store, alice: User) -> None:
    await store.write(mailboxes.create, alice.id, "a/b")
    with pytest.raises(NotFound):
        await store.write(mailboxes.rename, alice.id, "nothing", "new")
    with pytest.raises(Conflict):
        await store.write(mailboxes.rename, alice.id, "a", "Sent")
    with pytest.raises(Invalid):
        await store.write(mailboxes.rename, alice.id, "a", "a/b/c")


async def test_renaming_inbox_moves_its_messages(store: Store, alice: User) -> None:
    await store.write(messages.deliver, message(), [to(alice), to(alice, flags=1)])
    before = await inbox_of(store, alice)
    target = await store.write(mailboxes.rename, alice.id, "INBOX", "old")
    assert (target.message_count, target.unseen_count) == (2, 1)
    after = await inbox_of(store, alice)
    assert (after.id, after.message_count, after.uidnext) == (before.id, 0, 3)


async def test_delete_leaves_children_and_frees_the_quota(store: Store, alice: User) -> None:
    parent = await store.write(mailboxes.create, alice.id, "p")
    await store.write(mailboxes.create, alice.id, "p/child")
    await store.write(messages.deliver, message(), [to(alice, "p")] * 3)
    await store.write(mailboxes.subscribe, alice.id, "p")
    assert await store.write(mailboxes.delete, alice.id, "p") == parent.id
    assert "p/child" in await names(store, alice)
    assert "p" not in await names(store, alice)
    assert (await store.read(directory.get_user, alice.id)).quota_used == 0
    assert "p" in await store.read(mailboxes.subscriptions, alice.id)
    with pytest.raises(NotFound):
        await store.read(messages.open_view, parent.id)
    with pytest.raises(NotFound):
        await store.write(messages.append, parent.id, message())
    steps = 0
    while await store.write(mailboxes.purge_deleted, 2):
        steps += 1
    assert steps == 3  # two messages, one message, the mailbox
    assert await store.read(lambda tx: tx.rows("SELECT id FROM messages")) == []


async def test_subscriptions_need_no_mailbox(store: Store, alice: User) -> None:
    await store.write(mailboxes.subscribe, alice.id, "not/yet")
    await store.write(mailboxes.subscribe, alice.id, "not/yet")
    assert "not/yet" in await store.read(mailboxes.subscriptions, alice.id)
    assert (await store.write(mailboxes.create, alice.id, "not/yet")).subscribed
    await store.write(mailboxes.unsubscribe, alice.id, "not/yet")
    assert not (await store.read(mailboxes.status, alice.id, "not/yet")).subscribed


async def test_special_use_can_be_changed(store: Store, alice: User) -> None:
    await store.write(mailboxes.set_special_use, alice.id, "Junk", None)
    await store.write(mailboxes.create, alice.id, "Spam", "\\Junk")
    found = {m.name: m.special_use for m in await store.read(mailboxes.list_mailboxes, alice.id)}
    assert (found["Junk"], found["Spam"]) == (None, "\\Junk")


async def test_names_that_cannot_be(store: Store, alice: User) -> None:
    for name in ("", "/", "a//b", "/a", "a*", "a%", "a\r\nb", "a\0", "x" * 256, "/".join("a" * 31), "..", "a/./b"):
        with pytest.raises(Invalid):
            await store.write(mailboxes.create, alice.id, name)
        assert await store.read(mailboxes.find, alice.id, name) is None


def test_names_are_normalised() -> None:
    assert normalised("Cafe\u0301") == "Café"
    assert normalised("inbox/Inbox") == "INBOX/Inbox"
    assert normalised("Entwürfe & Ähnliches/") == "Entwürfe & Ähnliches"
