"""The runbook's `sqlite3` commands, by the system's own program, while the store is written to."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from store_samples import Clock, inbox_of, message, to

from pillarbox.store import DIRECTORY, Store, Touched, directory, mailboxes, messages, open_store, queue
from pillarbox.store.migrations import ALL
from pillarbox.store.records import Queued, User

SQLITE3 = shutil.which("sqlite3")
pytestmark = pytest.mark.skipif(SQLITE3 is None, reason="sqlite3 is not installed")


async def sqlite3(path: Path, *commands: str) -> str:
    assert SQLITE3 is not None
    process = await asyncio.create_subprocess_exec(
        SQLITE3,
        "-bail",
        "-cmd",
        ".timeout 30000",
        str(path),
        *commands,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode().strip()


@asynccontextmanager
async def traffic(store: Store, user: User) -> AsyncIterator[None]:
    """Messages go on being delivered meanwhile, with a breath between them."""
    done = asyncio.Event()

    async def deliver() -> None:
        while not done.is_set():
            await store.write(messages.deliver, message(), [to(user)])
            await asyncio.sleep(0.005)

    task = asyncio.create_task(deliver())
    try:
        yield
    finally:
        done.set()
        await task


@pytest.fixture
async def user(sqlite_store: Store) -> User:
    user: User = await sqlite_store.write(directory.create_user, "admin@example.com", "admin@example.com", "h")
    await sqlite_store.write(messages.deliver, message(), [to(user)] * 100)
    return user


async def test_reading_what_the_runbook_reads(sqlite_store: Store, user: User, folder: Path) -> None:
    path = folder / "smtp.db"
    assert await sqlite3(path, "SELECT username, enabled FROM users;") == "admin@example.com|1"
    versions = "SELECT version, name FROM schema_migrations ORDER BY version DESC LIMIT 5;"
    assert (await sqlite3(path, versions)).splitlines()[-1] == "{}|{}".format(*ALL[-5][:2])
    assert await sqlite3(path, "PRAGMA integrity_check;") == "ok"
    assert await sqlite3(path, "PRAGMA foreign_key_check;") == ""
    assert await sqlite3(path, "SELECT typeof(created_at) FROM users;") == "integer"


async def test_backup_vacuum_and_analyze_under_traffic(
    sqlite_store: Store, user: User, folder: Path, clock: Clock
) -> None:
    path = folder / "smtp.db"
    async with traffic(sqlite_store, user):
        await sqlite3(path, "VACUUM;")
        await sqlite3(path, "ANALYZE;")
        await sqlite3(path, f".backup '{folder}/copy.db'")
        assert await sqlite3(path, "PRAGMA wal_checkpoint(PASSIVE); PRAGMA integrity_check;") != ""
    count = (await inbox_of(sqlite_store, user)).message_count
    assert count > 100
    view = await sqlite_store.read(messages.open_view, (await inbox_of(sqlite_store, user)).id)
    assert list(view.uids) == [*range(1, count + 1)]
    copy = await open_store(folder / "copy.db", clock=clock)
    assert await copy.check() == []
    assert 100 <= (await inbox_of(copy, user)).message_count <= count
    await copy.close()


async def test_queue_rows_deleted_by_hand(sqlite_store: Store, user: User, folder: Path, clock: Clock) -> None:
    plans = [Queued("a@example.com", f"r{number}@example.net") for number in range(3)]
    await sqlite_store.write(messages.deliver, message(), plans)
    import time

    clock.now = int(time.time())
    await sqlite_store.write(messages.deliver, message(), [Queued("a@example.com", "new@example.net")])
    async with traffic(sqlite_store, user):
        await sqlite3(
            folder / "smtp.db", "DELETE FROM message_queue WHERE created_at < strftime('%s','now','-30 days');"
        )
    assert [row.to_address for row in await sqlite_store.read(queue.page)] == ["new@example.net"]


async def test_a_user_disabled_by_hand_is_seen(sqlite_store: Store, user: User, folder: Path) -> None:
    await sqlite3(folder / "smtp.db", "UPDATE users SET enabled = 0;")
    found = await sqlite_store.read(directory.user, "admin@example.com")
    assert found is not None
    assert not found.enabled
    assert await sqlite_store.read(mailboxes.find, user.id, "INBOX") is not None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET enabled = 0",
        "UPDATE users SET quota_limit = 1000 WHERE username = 'admin@example.com'",
        "INSERT INTO domains (name, created_at) VALUES ('example.net', 0)",
        "UPDATE domains SET enabled = 0",
        "DELETE FROM domains",
        "INSERT INTO aliases (address, target, created_at) VALUES ('a@example.com', 'b@example.com', 0)",
        "UPDATE aliases SET target = 'c@example.org'",
        "DELETE FROM aliases",
    ],
)
async def test_a_change_of_the_directory_by_hand_is_told(
    sqlite_store: Store, user: User, folder: Path, change: str
) -> None:
    await sqlite_store.write(directory.create_domain, "example.org")
    await sqlite_store.write(directory.add_alias, "x@example.org", "admin@example.com")
    sqlite_store.notice_changes([])
    told: list[frozenset[Touched]] = []
    sqlite_store.on_commit(told.append)
    await sqlite3(folder / "smtp.db", change)
    sqlite_store.notice_changes([])
    assert told == [frozenset({DIRECTORY})]


async def test_mail_and_logins_change_nothing_of_the_directory(sqlite_store: Store, user: User, folder: Path) -> None:
    sqlite_store.notice_changes([])
    other = await open_store(folder / "smtp.db")
    await other.write(messages.deliver, message(), [to(user)])
    await other.write(directory.record_login, user.id)
    assert sqlite_store.notice_changes([]) == frozenset()
    await other.close()


async def test_a_password_hash_put_there_by_hand_ends_logins(sqlite_store: Store, user: User, folder: Path) -> None:
    await sqlite_store.write(directory.set_password, user.username, "first", "keys of the first")
    before = await sqlite_store.read(directory.get_user, user.id)
    await sqlite3(folder / "smtp.db", "UPDATE users SET password_hash = 'second'")
    after = await sqlite_store.read(directory.get_user, user.id)
    assert after.credentials_version == before.credentials_version + 1
    assert (after.password_hash, after.scram_sha256) == ("second", "")
    await sqlite_store.write(directory.upgrade_hash, user.id, "second", "better", "keys of the second")
    assert (await sqlite_store.read(directory.get_user, user.id)).credentials_version == after.credentials_version


async def test_a_database_restored_into_the_running_store(sqlite_store: Store, user: User, folder: Path) -> None:
    """`.restore` is a transaction like any other: the next commit is where it shows."""
    path = folder / "smtp.db"
    await sqlite3(path, f".backup '{folder}/copy.db'")
    before = await inbox_of(sqlite_store, user)
    await sqlite_store.write(messages.deliver, message(), [to(user)])
    late = await sqlite_store.write(mailboxes.create, user.id, "late")
    await sqlite3(path, f".restore '{folder}/copy.db'")
    assert await sqlite_store.read(mailboxes.find, user.id, "late") is None
    outcome = (await sqlite_store.write(messages.deliver, message(), [to(user)]))[0]
    inbox = await inbox_of(sqlite_store, user)
    assert (outcome.uid, inbox.uidnext) == (before.uidnext, before.uidnext + 1)
    assert inbox.uidvalidity > max(late.uidvalidity, before.uidvalidity)
    await sqlite_store.write(messages.deliver, message(), [to(user)])
    assert (await inbox_of(sqlite_store, user)).uidvalidity == inbox.uidvalidity  # once
