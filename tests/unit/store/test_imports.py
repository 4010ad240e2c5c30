"""The record of what was taken in, on both engines."""

import pytest
from store_samples import START, inbox_of, message

from pillarbox.store import NotFound, Store, directory, imports, mailboxes, messages
from pillarbox.store.imports import Attached, Incoming
from pillarbox.store.records import User

SERVER = "imap://ada@old.example.org"


def new(digest: str, **more: object) -> Incoming:
    return Incoming(digest, message(digest), **more)  # type: ignore[arg-type]


async def attach(store: Store, user: User, mailbox: str = "Work", source: str = SERVER) -> Attached:
    return await store.write(imports.attach, user.id, source, mailbox, mailbox)


async def test_nothing_comes_twice(store: Store, alice: User) -> None:
    folder = await attach(store, alice)
    assert folder.fresh
    both = [new("a", source_uid=7), new("b", source_uid=9, flags=1, keywords=("z", "y"), date=START - 5)]
    assert await store.write(imports.take, folder, both) == [1, 2]
    assert await store.write(imports.take, folder, [*both, new("c", source_uid=11)]) == [0, 0, 3]
    assert await store.scan(imports.digests, folder.id) == {"a", "b", "c"}
    again = await attach(store, alice)
    assert (again.id, again.fresh) == (folder.id, False)
    known = await store.scan(imports.known, folder.id)
    assert [(one.source_uid, one.uid, one.flags, one.keywords) for one in known] == [
        (7, 1, 0, ""),
        (9, 2, 1, "y z"),
        (11, 3, 0, ""),
    ]
    await store.write(imports.forget_uids, folder.id)
    assert await store.scan(imports.known, folder.id) == []
    assert await store.write(imports.take, folder, [new("b", source_uid=2)]) == [0]
    assert [one.source_uid for one in await store.scan(imports.known, folder.id)] == [2]


async def test_uids_are_kept_while_they_can_be(store: Store, alice: User) -> None:
    folder = await attach(store, alice)
    assert await store.write(imports.adopt, folder, START - 1000)
    assert not await store.write(imports.adopt, folder, 1 << 31)  # in the future
    assert await store.write(imports.take, folder, [new("a", uid=5), new("b", uid=90)]) == [5, 90]
    await store.write(imports.finish, folder, START - 1000, 100, keep_uids=True)
    box = await store.read(mailboxes.get, folder.mailbox_id)
    assert (box.uidvalidity, box.uidnext) == (START - 1000, 100)
    again = await attach(store, alice)
    assert (again.uidvalidity, again.uidnext, again.keeps_uids) == (START - 1000, 100, True)
    await store.write(messages.append, box.id, message())
    assert await store.write(imports.take, again, [new("c", uid=100), new("d", uid=101)]) == [101, 102]
    assert (await store.read(mailboxes.get, box.id)).uidvalidity != START - 1000
    assert not (await attach(store, alice)).keeps_uids
    other = await attach(store, alice, "INBOX")
    await store.write(messages.append, other.mailbox_id, message())
    assert not await store.write(imports.adopt, other, START - 2000)  # it has had a message


async def test_an_empty_mailbox_makes_way_for_a_uidvalidity(store: Store, alice: User) -> None:
    inbox, folder = await inbox_of(store, alice), await attach(store, alice)
    assert await store.write(imports.adopt, folder, inbox.uidvalidity)
    assert (await inbox_of(store, alice)).uidvalidity != inbox.uidvalidity
    await store.write(imports.take, folder, [new("a")])
    other = await attach(store, alice, "Other")
    assert not await store.write(imports.adopt, other, inbox.uidvalidity)


async def test_flags_and_expunges_follow(store: Store, alice: User) -> None:
    folder = await attach(store, alice)
    await store.write(imports.take, folder, [new("a", source_uid=1), new("b", source_uid=2)])
    one, two = await store.scan(imports.known, folder.id)
    assert await store.write(imports.follow_flags, folder, [(one, 5, ("b", "a"))]) == 1
    view = await store.read(messages.open_view, folder.mailbox_id)
    assert (list(view.flags), view.keywords) == ([5, 0], {1: ("a", "b")})
    assert await store.write(imports.follow_expunges, folder, [two]) == 1
    assert [known.source_uid for known in await store.scan(imports.known, folder.id)] == [1]
    assert await store.scan(imports.present, folder, [1, 2]) == {1: one.size}


async def test_mailboxes_and_accounts_that_go(store: Store, alice: User) -> None:
    folder = await attach(store, alice)
    await store.write(imports.take, folder, [new("a")])
    await store.write(mailboxes.delete, alice.id, "Work")
    with pytest.raises(NotFound):
        await store.write(imports.take, folder, [new("b")])
    again = await attach(store, alice)
    assert again.fresh
    assert again.mailbox_id != folder.mailbox_id
    assert await store.scan(imports.digests, again.id) == set()
    while await store.write(mailboxes.purge_deleted):
        pass
    assert (await inbox_of(store, alice)).message_count == 0
    await store.write(directory.delete_user, "alice")
    assert await store.read(lambda tx: tx.rows("SELECT id FROM import_folders")) == []
