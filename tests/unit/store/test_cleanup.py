"""The clean-up, backups, and the holding of writers."""

import asyncio
from pathlib import Path

import pytest
from store_samples import Clock, inbox_of, message, raw_message, to

from pillarbox.mime.analysis import analyse
from pillarbox.store import (
    Conflict,
    Store,
    blobs,
    check_store,
    directory,
    mailboxes,
    messages,
    open_store,
    space,
    undelete,
)
from pillarbox.store.backup import backup, paused
from pillarbox.store.records import NewMessage, User


async def test_clean_up_ends_when_there_is_nothing_left(store: Store, alice: User, clock: Clock) -> None:
    await store.write(messages.deliver, message(), [to(alice)] * 3)
    await store.write(directory.delete_user, "alice")
    purged = [await store.write(mailboxes.purge_deleted) for _ in range(9)]
    assert sum(purged) == 3 + 6  # messages, then six mailboxes
    assert purged[-1] == 0
    assert await store.write(blobs.free_unreferenced, 0) == 0
    clock.now += blobs.KEEP + 1
    assert await store.write(blobs.free_unreferenced, clock.now - blobs.KEEP) == 1
    for table in ("users", "mailboxes", "messages", "blobs", "subscriptions", "unreferenced_blobs"):
        assert await store.read(lambda tx, table=table: tx.rows(f"SELECT id FROM {table}")) == []


async def test_long_histories_are_found(store: Store, alice: User, clock: Clock) -> None:
    for _ in range(12):
        await store.write(messages.deliver, message(), [to(alice, flags=8)])
        await store.write(messages.expunge, (await inbox_of(store, alice)).id)
    await store.write(undelete.forget, clock.now + 1)
    inbox = await inbox_of(store, alice)
    assert await store.scan(messages.long_histories, 12) == []
    assert await store.scan(messages.long_histories, 11) == [inbox.id]
    assert await store.write(messages.trim_history, inbox.id, 5) == 7
    inbox = await inbox_of(store, alice)
    assert (await store.read(messages.changes, inbox.id, inbox.history_from, inbox.uidnext)).vanished == [*range(8, 13)]


async def test_free_pages_go_back_to_the_disk(sqlite_store: Store, folder: Path, clock: Clock) -> None:
    import os

    alice = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    raw = raw_message()
    for _ in range(20):
        large = NewMessage(b"\0" + raw + os.urandom(200_000), None, analyse(raw))
        await sqlite_store.write(messages.deliver, large, [to(alice, flags=8)])
    await sqlite_store.write(messages.expunge, (await inbox_of(sqlite_store, alice)).id)
    await sqlite_store.write(undelete.forget, clock.now + 1)
    assert await sqlite_store.write(space.give_back) == 0
    await sqlite_store.write(blobs.free_unreferenced, 0)
    clock.now += blobs.KEEP + 1
    assert await sqlite_store.write(blobs.free_unreferenced, clock.now - blobs.KEEP) == 20
    (before,) = await sqlite_store.write(lambda tx: tx.row("PRAGMA page_count"))
    given = [await sqlite_store.write(space.give_back) for _ in range(8)]
    (after,) = await sqlite_store.write(lambda tx: tx.row("PRAGMA page_count"))
    assert given[-1] == 0
    assert 0 <= before - after - sum(given) < 10  # pages of the page map go with them
    assert sum(given) >= 2 * space.STEP


async def test_a_backup_is_a_whole_store(sqlite_store: Store, folder: Path, clock: Clock) -> None:
    alice = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    await sqlite_store.write(messages.deliver, message(), [to(alice)])
    target = str(folder / "copy.db")
    await asyncio.to_thread(backup, str(folder / "smtp.db"), target)
    assert (folder / "copy.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict):
        backup(str(folder / "smtp.db"), target)
    assert check_store(target) == []
    copy = await open_store(target, clock=clock)
    assert (await inbox_of(copy, alice)).message_count == 1
    await copy.close()


async def test_nobody_commits_while_paused(sqlite_store: Store, folder: Path) -> None:
    with paused(str(folder / "smtp.db")):
        writing = sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
        await asyncio.sleep(0.01)
        assert not writing.done()
        assert await sqlite_store.read(directory.user, "alice") is None
    assert (await writing).username == "alice"


async def test_check_of_a_store_by_its_name(place: str, store: Store, alice: User) -> None:
    assert check_store(place) == []
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = 5"))
    assert check_store(place) == ["User alice is charged 5 octets, but the mailboxes hold 0."]
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = 0"))
    assert await store.read(mailboxes.find, alice.id, "INBOX") is not None


def test_what_is_no_store(target: str) -> None:
    from pillarbox.store.files import create_database
    from pillarbox.store.opening import is_postgres

    if not is_postgres(target):
        create_database(target)
    (sentence,) = check_store(target)
    assert "schema" in sentence
