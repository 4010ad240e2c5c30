"""Quotas of octets, messages and mailboxes, of accounts and of domains: exact, on both engines."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import NotFound, OverQuota, Store, directory, mailboxes, messages, quota, undelete
from pillarbox.store.records import User

ALICE = "user/alice"


async def fill(store: Store, user: User, count: int = 1) -> None:
    for _ in range(count):
        outcome = (await store.write(messages.deliver, message(), [to(user)]))[0]
        assert outcome.error is None


async def test_messages_are_limited_and_counted(store: Store, alice: User) -> None:
    await store.write(quota.set_limits, ALICE, messages=2)
    await fill(store, alice, 2)
    assert (await store.write(messages.deliver, message(), [to(alice)]))[0].error == "over quota"
    inbox = await inbox_of(store, alice)
    with pytest.raises(OverQuota):
        await store.write(messages.copy, inbox.id, [1], inbox.id)
    (root,) = await store.read(quota.roots, alice.id)
    assert (root.name, root.messages, root.storage[1], root.percent) == (ALICE, (2, 2), 0, 100)
    await store.write(messages.store_flags, inbox.id, [1], "add", 8)
    await store.write(messages.expunge, inbox.id)
    await fill(store, alice)
    gone = await store.read(undelete.gone, alice.id)
    with pytest.raises(OverQuota):
        await store.write(undelete.restore, alice.id, [gone[0].id])


async def test_octets_say_too_big_or_full(store: Store, alice: User) -> None:
    await store.write(quota.set_limits, ALICE, storage=1000)
    user = await store.read(directory.get_user, alice.id)
    assert await store.read(quota.room, user, 1000) is None
    assert await store.read(quota.room, user, 1001) == quota.TOO_BIG
    await fill(store, alice)
    assert await store.read(quota.room, user, 1000) == quota.FULL
    await store.write(messages.append, (await inbox_of(store, alice)).id, message(body="x" * 1000), beyond=True)
    assert (await store.read(quota.roots, alice.id))[0].percent > 100


async def test_mailboxes_are_limited_with_those_made_above(store: Store, alice: User) -> None:
    await store.write(quota.set_limits, ALICE, mailboxes=8)
    with pytest.raises(OverQuota):
        await store.write(mailboxes.create, alice.id, "a/b/c")
    await store.write(mailboxes.create, alice.id, "a/b")
    with pytest.raises(OverQuota):
        await store.write(mailboxes.create, alice.id, "c")
    await store.write(mailboxes.rename, alice.id, "a/b", "a/c")
    (root,) = await store.read(quota.roots, alice.id)
    assert root.mailboxes == (8, 8)


async def test_a_mailbox_that_comes_back_counts_with_those_made_above_it(store: Store, alice: User) -> None:
    box = await store.write(mailboxes.create, alice.id, "a/b")
    for name in ("a/b", "a"):
        await store.write(mailboxes.delete, alice.id, name)
    await store.write(quota.set_limits, ALICE, mailboxes=7)  # six are there
    with pytest.raises(OverQuota):
        await store.write(undelete.revive, alice.id, box.id)
    await store.write(quota.set_limits, ALICE, mailboxes=8)
    assert (await store.write(undelete.revive, alice.id, box.id)).name == "a/b"
    (root,) = await store.read(quota.roots, alice.id)
    assert root.mailboxes == (8, 8)


async def test_a_domain_is_the_sum_of_its_accounts(store: Store, alice: User) -> None:
    with pytest.raises(NotFound):
        await store.write(quota.set_limits, "domain/example.com", messages=3)
    await store.write(directory.create_domain, "example.com")
    await store.write(quota.set_limits, "domain/Example.COM", messages=3)
    bob = await store.write(directory.create_user, "bob", "bob@example.com", "h")
    other = await store.write(directory.create_user, "other", "other@example.org", "h")
    await fill(store, alice, 2)
    await fill(store, bob)
    for user in (alice, bob):
        assert (await store.write(messages.deliver, message(), [to(user)]))[0].error == "over quota"
        assert await store.read(quota.room, user, 0) == quota.FULL
        assert await store.read(quota.is_limited, user)
    await fill(store, other, 4)
    assert not await store.read(quota.is_limited, other)
    size = (await store.read(directory.get_user, alice.id)).quota_used * 3 // 2
    await store.write(quota.set_limits, "domain/example.com", storage=size + 10)
    assert (await store.write(messages.deliver, message(), [to(alice)]))[0].error == "over quota"
    root = await store.read(quota.root, "domain/example.com")
    assert root is not None and root.storage == (size, size + 10)


async def test_roots_by_name(store: Store, alice: User) -> None:
    assert await store.read(quota.roots, alice.id) == []
    assert await store.read(quota.root, "user/nobody") is None
    assert await store.read(quota.root, "alice") is None
    found = await store.write(quota.set_limits, "user/ALICE", 5, 6, 7)
    assert found.name == ALICE and [found.storage[1], found.messages[1], found.mailboxes[1]] == [5, 6, 7]
