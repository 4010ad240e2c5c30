"""The high-water mark: a restored database is noticed, an honest one never is."""

import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from store_samples import Clock, inbox_of, message, to

from pillarbox.store import Store, directory, mailboxes, messages, open_store
from pillarbox.store.mark import BLOCK, Mark, Verdict, judge
from pillarbox.store.records import User


async def with_messages(path: Path, clock: Clock, count: int) -> tuple[Store, User]:
    store = await open_store(path, clock=clock)
    user = await store.read(directory.user, "alice")
    if user is None:
        user = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    for _ in range(count):
        await store.write(messages.deliver, message(), [to(user)])
    return store, user


async def epoch(store: Store) -> str:
    (value,) = await store.read(lambda tx: tx.row("SELECT value FROM store_meta WHERE key = 'jmap_epoch'"))
    assert isinstance(value, str)
    return value


async def test_a_restart_changes_nothing(folder: Path, clock: Clock) -> None:
    store, user = await with_messages(folder / "smtp.db", clock, 3)
    before, its_epoch = await inbox_of(store, user), await epoch(store)
    await store.close()
    store, user = await with_messages(folder / "smtp.db", clock, 0)
    assert (await inbox_of(store, user), await epoch(store)) == (before, its_epoch)
    await store.close()


async def test_a_restored_database_gets_new_uidvalidities(folder: Path, clock: Clock) -> None:
    path = folder / "smtp.db"
    store, user = await with_messages(path, clock, 3)
    before, its_epoch = await inbox_of(store, user), await epoch(store)
    await store.close()
    shutil.copy(path, folder / "backup.db")
    store, user = await with_messages(path, clock, 1)
    late = await store.write(mailboxes.create, user.id, "late")
    await store.close()
    shutil.copy(folder / "backup.db", path)
    for _ in range(2):  # and only once
        store, user = await with_messages(path, clock, 0)
        after = await inbox_of(store, user)
        assert after.uidvalidity > max(before.uidvalidity, late.uidvalidity)
        assert after.message_count == 3
        everything = await store.read(mailboxes.list_mailboxes, user.id)
        assert len({mailbox.uidvalidity for mailbox in everything}) == len(everything)
        assert await epoch(store) != its_epoch
        assert await store.check() == []
        first, its_epoch_now = after.uidvalidity, await epoch(store)
        await store.close()
    store, user = await with_messages(path, clock, 0)
    assert ((await inbox_of(store, user)).uidvalidity, await epoch(store)) == (first, its_epoch_now)
    newest = await store.write(mailboxes.create, user.id, "new")
    assert newest.uidvalidity > first
    await store.close()


async def test_another_stores_file_gets_new_uidvalidities(folder: Path, clock: Clock) -> None:
    (folder / "other").mkdir()
    store, user = await with_messages(folder / "other" / "smtp.db", clock, 50)
    theirs = await inbox_of(store, user)
    await store.close()
    store, user = await with_messages(folder / "smtp.db", clock, 1)
    mine = await inbox_of(store, user)
    await store.close()
    shutil.copy(folder / "other" / "smtp.db", folder / "smtp.db")
    store, user = await with_messages(folder / "smtp.db", clock, 0)
    assert (await inbox_of(store, user)).uidvalidity > max(mine.uidvalidity, theirs.uidvalidity)
    await store.close()


async def test_a_new_database_starts_above_an_old_mark(folder: Path, clock: Clock) -> None:
    path = folder / "smtp.db"
    store, user = await with_messages(path, clock, 2)
    old = await inbox_of(store, user)
    await store.close()
    path.unlink()
    clock.now -= 1_000_000
    store, user = await with_messages(path, clock, 2)
    assert (await inbox_of(store, user)).uidvalidity > old.uidvalidity
    (counter,) = await store.read(lambda tx: tx.row("SELECT value FROM store_counters WHERE id = 1"))
    assert counter > BLOCK
    await store.close()


async def test_a_database_without_its_mark_may_be_older_than_what_clients_saw(folder: Path, clock: Clock) -> None:
    path = folder / "smtp.db"
    store, user = await with_messages(path, clock, 2)
    before = await inbox_of(store, user)
    await store.close()
    (folder / "smtp.db.mark").unlink()  # as on a new machine where only the backup was put
    store, user = await with_messages(path, clock, 2)
    after = await inbox_of(store, user)
    assert (after.uidvalidity > before.uidvalidity, after.message_count) == (True, 4)
    await store.close()
    store, user = await with_messages(path, clock, 0)
    assert await inbox_of(store, user) == after  # once
    await store.close()


def test_the_mark_follows_the_commits(folder: Path) -> None:
    mark = Mark(str(folder / "smtp.db"))
    assert mark.is_new
    mark.adopt("0123456789abcdef" * 2, 5, 77)
    mark.reserve(6)
    mark.commit(6, 70)
    mark.close()
    again = Mark(str(folder / "smtp.db"))
    assert (again.is_new, again.store_id) == (False, "0123456789abcdef" * 2)
    assert (again.committed, again.reserved, again.uidvalidity) == (6, 5 + BLOCK, 77)
    again.reserve(6 + BLOCK)
    assert again.reserved == 6 + 2 * BLOCK
    again.close()


@given(st.integers(0, 10**6), st.integers(0, 3 * BLOCK), st.integers(0, 3 * BLOCK), st.booleans())
def test_an_honest_database_is_never_suspected(start: int, groups: int, unsynced: int, clean: bool) -> None:
    """After any number of commits, and after a power loss that took the newest `unsynced` writes to the mark."""
    reserved, counter = start + BLOCK, start
    for _ in range(0, groups, 1 + groups // 50):
        counter += 1 + groups // 50
        if counter > reserved:
            reserved = counter + BLOCK
    committed = counter if clean else max(start, counter - unsynced)
    assert judge((False, "a", committed, reserved), "a", counter) is Verdict.SAME


def test_verdicts() -> None:
    assert judge((True, "0", 0, 0), "a", 5) is Verdict.NEW
    assert judge((False, "b", 3, BLOCK), "a", 5) is Verdict.OTHER
    assert judge((False, "a", 6, BLOCK), "a", 5) is Verdict.BEHIND
    assert judge((False, "a", 0, 7 + BLOCK), "a", 5) is Verdict.BEHIND  # all that a power loss left of the mark
