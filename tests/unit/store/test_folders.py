"""What is new in an account, for who follows all of it: by keys, and by a walk when nobody says where to look."""

import pytest

from pillarbox.mime.analysis import analyse
from pillarbox.store import Tx, blobs, folders, mailboxes, messages, metadata
from pillarbox.store.errors import NotFound
from pillarbox.store.metadata import Changed

LETTER = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture
async def account(alice):
    return alice.id


def letter(tx: Tx, user_id, name):
    message = messages.NewMessage(packed=blobs.pack(LETTER), blob_id=None, analysis=analyse(LETTER))
    return messages.append(tx, mailboxes.find(tx, user_id, name).id, message)


def known_of(found):
    return {folder.id: folder for folder in found.folders}


def flag(tx: Tx, user_id, name, bits):
    box = mailboxes.find(tx, user_id, name)
    return messages.store_flags(tx, box.id, [1], "set", bits)


async def test_news_of_some_and_of_all(store, account):
    await store.write(letter, account, "INBOX")
    await store.write(mailboxes.create, account, "Old")
    before = await store.scan(folders.load, account)
    known = known_of(before)
    by_name = {folder.name: folder for folder in before.folders}
    assert by_name["INBOX"].messages == by_name["INBOX"].unseen == 1
    assert before.subscribed == {"INBOX"} | {folder.name for folder in before.folders if folder.special_use}

    await store.write(flag, account, "INBOX", 2)
    await store.write(mailboxes.delete, account, "Old")
    made = await store.write(mailboxes.create, account, "New")
    ids = {by_name["INBOX"].id: by_name["INBOX"], by_name["Old"].id: by_name["Old"], made.id: None}
    numbers = before.modseq, before.server_modseq
    for fresh in (
        await store.read(folders.some, account, ids, *numbers, subscriptions=True),
        await store.scan(folders.newer, account, known, *numbers),
    ):
        assert [folder.name for folder in fresh.folders] == ["INBOX", "New"]
        assert fresh.flagged == {by_name["INBOX"].id}
        assert fresh.gone == {by_name["Old"].id}
        assert fresh.subscribed == before.subscribed
        assert fresh.entries == []
        assert (await store.read(folders.numbers, [account, 999])) == {account: fresh.modseq}


async def test_a_new_name_or_a_new_message_is_no_change_of_flags(store, account):
    await store.write(letter, account, "INBOX")
    before = await store.scan(folders.load, account)
    await store.write(letter, account, "INBOX")
    await store.write(mailboxes.rename, account, "Sent", "Gone")
    fresh = await store.scan(folders.newer, account, known_of(before), before.modseq, 0)
    assert [folder.name for folder in fresh.folders] == ["Gone", "INBOX"]
    assert not fresh.flagged


async def test_a_database_that_went_back_is_read_anew(store, account):
    before = await store.scan(folders.load, account)
    fresh = await store.scan(folders.newer, account, known_of(before), before.modseq + 100, 0)
    assert fresh.folders == before.folders


async def test_nobody_has_no_folders(store):
    for reading in ((folders.load, 999), (folders.newer, 999, {}, 0, 0)):
        with pytest.raises(NotFound):
            await store.scan(*reading)


async def test_subscriptions_are_numbered_when_they_change(store, account):
    async def number():
        return (await store.read(folders.numbers, [account]))[account]

    at = await number()
    await store.write(mailboxes.subscribe, account, "a")
    assert await number() == at + 1
    await store.write(mailboxes.subscribe, account, "a")
    await store.write(mailboxes.unsubscribe, account, "b")
    assert await number() == at + 1
    await store.write(mailboxes.unsubscribe, account, "a")
    assert await number() == at + 2


async def test_entries_that_changed(store, account, monkeypatch):
    before = await store.scan(folders.load, account)
    sent = next(folder.id for folder in before.folders if folder.name == "Sent")
    changes = [("/private/a", b"x"), ("/shared/a", b"x"), ("/shared/b", None)]
    await store.write(metadata.store, account, sent, changes, account)
    await store.write(metadata.store, account, None, changes[:2])
    fresh = await store.read(folders.some, account, {}, before.modseq, before.server_modseq, subscriptions=False)
    assert [one._replace(modseq=0) for one in fresh.entries] == [
        Changed(0, sent, account, "/private/a"),
        Changed(0, sent, None, "/shared/a"),
        Changed(0, sent, None, "/shared/b"),
        Changed(0, None, account, "/private/a"),
        Changed(0, None, None, "/shared/a"),
    ]
    assert fresh.subscribed is None
    last = fresh.entries[-1].modseq
    assert await store.read(metadata.last_of_server) == last
    assert await store.read(metadata.changes, account, fresh.modseq, last) == []
    monkeypatch.setattr(metadata, "CHANGES", 2)
    for n in range(5):
        await store.write(metadata.store, account, None, [(f"/private/{n}", b"x")])
    kept = await store.read(metadata.changes, account, 0, last)
    assert [one.entry for one in kept] == ["/private/3", "/private/4"]
