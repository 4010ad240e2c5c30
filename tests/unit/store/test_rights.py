"""Rights of others on mailboxes and accounts, on both engines."""

import pytest

from pillarbox.store import Invalid, NotFound, Store, directory, mailboxes, metadata, rights, sharing
from pillarbox.store.errors import Conflict, Denied
from pillarbox.store.records import User


@pytest.fixture
async def bob(store: Store) -> User:
    return await store.write(directory.create_user, "bob", "bob@example.com", "h")


async def box_id(store: Store, user: User, name: str) -> int:
    found = await store.read(mailboxes.find, user.id, name)
    assert found is not None
    return found.id


async def test_an_account_is_shared_with_its_later_mailboxes(store: Store, alice: User, bob: User) -> None:
    assert await store.read(sharing.shared, bob.id) == []
    await store.write(rights.change, alice.id, None, "BOB", "=", "lrsc")
    names = [seen.box.name for seen in await store.read(sharing.shared, bob.id)]
    assert len(names) == 6 and "Other Users/alice/INBOX" in names
    made = await store.write(sharing.create, bob.id, "Other Users/alice/new/below")
    assert made.name == "Other Users/alice/new/below" and made.user_id == alice.id
    with pytest.raises(Conflict):
        await store.write(sharing.create, bob.id, "Other Users/alice/new")
    sent = await box_id(store, alice, "Sent")
    await store.write(rights.change, alice.id, sent, "bob", "-", "lrskx")
    assert await store.read(sharing.find, bob.id, "Other Users/alice/Sent") is None
    assert await store.read(rights.of, alice.id, sent, bob.id) == ""
    assert await store.read(rights.listed, alice.id, sent) == []
    assert await store.read(rights.listed, alice.id, None) == [("bob", "lrskx")]
    await store.write(rights.change, alice.id, None, "bob", "=", "")
    assert await store.read(sharing.shared, bob.id) == []


async def test_anyone_and_what_is_taken_away(store: Store, alice: User, bob: User) -> None:
    inbox = await box_id(store, alice, "INBOX")
    await store.write(rights.change, alice.id, inbox, "anyone", "=", "lr")
    assert await store.write(rights.change, alice.id, inbox, "bob", "+", "sw") == "sw"
    await store.write(rights.change, alice.id, inbox, "-bob", "=", "w")
    assert await store.read(rights.of, alice.id, inbox, bob.id) == "lrs"
    assert await store.read(rights.listed, alice.id, inbox) == [("-bob", "w"), ("anyone", "lr"), ("bob", "sw")]
    with pytest.raises(Denied):
        await store.read(sharing.required, bob.id, "Other Users/alice/INBOX", "rw")
    with pytest.raises(Invalid):
        await store.write(rights.change, alice.id, inbox, "alice", "=", "l")
    with pytest.raises(NotFound):
        await store.write(rights.change, alice.id, inbox, "nobody", "=", "l")


async def test_rights_go_with_the_account_and_the_mailbox(store: Store, alice: User, bob: User) -> None:
    made = await store.write(mailboxes.create, alice.id, "team")
    await store.write(rights.change, alice.id, made.id, "bob", "=", "lrx")
    await store.write(metadata.store, bob.id, made.id, [("/private/a", b"1"), ("/shared/b", b"\0")], alice.id)
    assert await store.read(metadata.entries, bob.id, made.id) == {"/private/a": b"1", "/shared/b": b"\0"}
    assert await store.read(metadata.entries, alice.id, made.id) == {"/shared/b": b"\0"}
    await store.write(sharing.delete, bob.id, "Other Users/alice/team")
    assert await store.read(sharing.shared, bob.id) == []
    while await store.write(mailboxes.purge_deleted):
        pass
    assert await store.read(lambda tx: tx.rows("SELECT id FROM acl UNION ALL SELECT id FROM metadata")) == []
    await store.write(rights.change, alice.id, None, "bob", "=", "l")
    await store.write(metadata.store, bob.id, None, [("/private/a", b"1")])
    await store.write(directory.delete_user, "bob")
    assert await store.read(lambda tx: tx.rows("SELECT id FROM acl UNION ALL SELECT id FROM metadata")) == []


async def test_a_change_of_rights_is_news_of_the_mailbox(store: Store, alice: User, bob: User) -> None:
    inbox = await box_id(store, alice, "INBOX")
    told: list[frozenset[tuple[int, int]]] = []
    store.on_commit(told.append)
    before = (await store.read(mailboxes.get, inbox)).highestmodseq
    await store.write(rights.change, alice.id, None, "bob", "=", "lr")
    assert (await store.read(mailboxes.get, inbox)).highestmodseq > before
    assert (alice.id, inbox) in told[-1] and (0, 0) in told[-1]
