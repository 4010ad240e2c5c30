"""`cp` of a backup over the database of a server that was killed: the log that was left is another file's."""

import shutil
from pathlib import Path

from store_samples import Clock, inbox_of, message, to

from pillarbox.store import Store, check_store, directory, messages, migrate, open_store
from pillarbox.store.mark import Mark
from pillarbox.store.records import User
from pillarbox.store.sqlite_checkpoint import checkpoint
from pillarbox.store.sqlite_connection import connect
from pillarbox.store.write_lock import WriteLock

STATE = ("smtp.db", "smtp.db-wal", "smtp.db-shm", "smtp.db.mark", "smtp.db.lock")


class Machine:
    """A folder with a store in it that can be killed: what another process had on the disk is copied elsewhere."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.path = folder / "smtp.db"

    async def up(self) -> tuple[Store, User]:
        store = await open_store(self.path, clock=self.clock)
        user = await store.read(directory.user, "alice")
        return store, user or await store.write(directory.create_user, "alice", "alice@example.com", "h")

    async def receive(self, count: int, *, checkpointed: bool) -> None:
        """Take mail, die by SIGKILL: the log stays."""
        store, user = await self.up()
        for number in range(count):
            await store.write(messages.deliver, message(str(number), "x" * 5000), [to(user)])
        if checkpointed:
            connection, lock, mark = connect(str(self.path), "checkpointer"), WriteLock(str(self.path)), Mark(self.name)
            checkpoint(connection, self.name, lock, mark)
            connection.close()
            lock.close()
            mark.close()
            await store.write(messages.deliver, message("late", "y" * 5000), [to(user)])
        self.image = self.folder / "image"
        shutil.rmtree(self.image, ignore_errors=True)
        self.image.mkdir()
        for name in STATE:
            shutil.copy(self.folder / name, self.image / name)
        await store.close()
        for name in STATE:
            shutil.copy(self.image / name, self.folder / name)

    @property
    def name(self) -> str:
        return str(self.path)

    def logs(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("smtp.db-wal*"))


async def stopped_backup(machine: Machine) -> Path:
    """As of two messages, made while stopped."""
    store, user = await machine.up()
    await store.write(messages.deliver, message(), [to(user), to(user)])
    await store.close()
    return Path(shutil.copy(machine.path, machine.folder / "backup.db"))


async def test_a_log_that_was_left_is_not_replayed_over_a_backup(folder: Path, clock: Clock) -> None:
    machine = Machine(folder, clock)
    backup = await stopped_backup(machine)
    before, user = await machine.up()
    uidvalidity = (await inbox_of(before, user)).uidvalidity
    await before.close()
    await machine.receive(50, checkpointed=True)
    shutil.copy(backup, machine.path)
    (sentence,) = check_store(machine.path)
    assert "-wal is the log of another database" in sentence
    assert machine.logs() == ["smtp.db-wal"]  # looking changed nothing

    store, user = await machine.up()
    inbox = await inbox_of(store, user)
    assert (inbox.message_count, inbox.uidvalidity > uidvalidity) == (2, True)
    assert await store.check() == []
    await store.close()
    assert machine.logs() == [f"smtp.db-wal.{clock.now}"]
    store, user = await machine.up()
    assert (await inbox_of(store, user)).uidvalidity == inbox.uidvalidity
    await store.close()


async def test_a_log_that_was_left_is_not_replayed_over_another_machines_database(folder: Path, clock: Clock) -> None:
    machine = Machine(folder, clock)
    await machine.receive(50, checkpointed=True)
    (folder / "other").mkdir()
    other = Machine(folder / "other", clock)
    backup = await stopped_backup(other)
    shutil.copy(backup, machine.path)
    store, user = await machine.up()
    assert (await inbox_of(store, user)).message_count == 2
    assert await store.check() == []
    await store.close()


async def test_after_a_kill_the_log_is_the_databases(folder: Path, clock: Clock) -> None:
    machine = Machine(folder, clock)
    for checkpointed in (True, False, True):
        await machine.receive(20, checkpointed=checkpointed)
        assert machine.logs() == ["smtp.db-wal"]
        assert check_store(machine.path) == []
    store, user = await machine.up()
    assert (await inbox_of(store, user)).message_count == 62
    await store.close()
    assert machine.logs() == []


async def test_a_database_put_back_together_with_its_own_log(folder: Path, clock: Clock) -> None:
    machine = Machine(folder, clock)
    await machine.receive(5, checkpointed=False)
    copy = folder / "copy"
    shutil.copytree(machine.image, copy)
    await machine.receive(50, checkpointed=True)
    store, user = await machine.up()
    uidvalidity = (await inbox_of(store, user)).uidvalidity
    await store.close()
    for name in ("smtp.db", "smtp.db-wal", "smtp.db-shm"):  # not the mark
        shutil.copy(copy / name, folder / name)
    store, user = await machine.up()
    inbox = await inbox_of(store, user)
    assert (inbox.message_count, inbox.uidvalidity > uidvalidity) == (5, True)
    assert await store.check() == []
    await store.close()


async def test_nobodys_log_is_touched_while_it_is_in_use(folder: Path, clock: Clock) -> None:
    machine = Machine(folder, clock)
    store, user = await machine.up()
    mark = Mark(machine.name)
    mark.checkpoint(10**6)  # as if
    assert migrate(machine.path, clock=clock) == []
    await store.write(messages.deliver, message(), [to(user)])
    assert machine.logs() == ["smtp.db-wal"]
    mark.close()
    await store.close()
