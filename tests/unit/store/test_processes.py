"""Several processes on one file: turns at the lock, news of others' changes, death, and a clean stop."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest
from store_samples import Clock, inbox_of, message, to

from pillarbox.store import (
    DIRECTORY,
    Store,
    Touched,
    directory,
    messages,
    migrate,
    open_store,
    sqlite_checkpoint,
    truncate_wal,
)
from pillarbox.store.mark import Mark
from pillarbox.store.records import User
from pillarbox.store.sqlite_checkpoint import Checkpointer, checkpoint
from pillarbox.store.sqlite_connection import connect, fetch
from pillarbox.store.write_lock import WriteLock


def test_who_waits_is_next(folder: Path) -> None:
    """The releaser wants the lock again at once, and yet the other one gets it."""
    path = str(folder / "smtp.db")
    mine, theirs = WriteLock(path), WriteLock(path)
    order: list[str] = []

    def other() -> None:
        with theirs:
            order.append("theirs")

    thread = threading.Thread(target=other)
    with mine:
        thread.start()
        while _front_is_free(path):
            pass
    with mine:
        order.append("mine")
    thread.join()
    mine.close()
    theirs.close()
    assert order == ["theirs", "mine"]


def _front_is_free(path: str) -> bool:
    import fcntl

    from pillarbox.store import write_lock

    fd = os.open(path + ".lock", os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, write_lock._LOCK_FRONT)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def test_one_checkpointer(folder: Path) -> None:
    one, two = WriteLock(str(folder / "x")), WriteLock(str(folder / "x"))
    assert one.become_checkpointer()
    assert not two.become_checkpointer()
    one.close()
    assert two.become_checkpointer()
    two.close()


async def test_two_stores_write_by_turns(store: Store, place: str, alice: User, clock: Clock) -> None:
    other = await open_store(place, clock=clock)
    mine = [store.write(messages.deliver, message(), [to(alice)]) for _ in range(20)]
    theirs = [other.write(messages.deliver, message(), [to(alice)]) for _ in range(20)]
    uids = [(await future)[0].uid for future in mine + theirs]
    assert sorted(uids) == [*range(1, 41)]
    await other.close()


async def test_news_of_another_process(sqlite_store: Store, folder: Path, clock: Clock) -> None:
    store = sqlite_store
    alice = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    inbox = await inbox_of(store, alice)
    other = await open_store(folder / "smtp.db", clock=clock)
    store.notice_changes([inbox.id])
    told: list[frozenset[Touched]] = []
    store.on_commit(told.append)
    assert store.notice_changes([inbox.id]) == frozenset()
    await other.write(messages.deliver, message(), [to(alice)])
    assert store.notice_changes([inbox.id]) == {Touched(alice.id, inbox.id)}
    assert store.notice_changes([inbox.id]) == frozenset()
    await other.write(directory.set_password, "alice", "new", "s")
    assert store.notice_changes([inbox.id]) == {DIRECTORY}
    await other.write(messages.deliver, message(), [to(alice, "Sent")])
    assert store.notice_changes([inbox.id]) == frozenset()
    await other.write(directory.delete_user, "alice")
    assert store.notice_changes([inbox.id]) == {DIRECTORY, Touched(alice.id, inbox.id)}
    assert len(told) == 3
    await other.close()


async def test_many_watched_mailboxes(sqlite_store: Store) -> None:
    alice = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    watched = [*range(1, 1000)]
    assert {t.mailbox_id for t in sqlite_store.notice_changes(watched)} == {1, 2, 3, 4, 5, 6}
    await sqlite_store.write(messages.deliver, message(), [to(alice)])
    assert sqlite_store.notice_changes(watched) == {Touched(alice.id, 1)}


async def test_files_are_private_and_a_clean_stop_leaves_no_log(folder: Path) -> None:
    store = await open_store(folder / "smtp.db")
    await store.write(directory.create_user, "alice", "alice@example.com", "h")
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(names) == {"smtp.db", "smtp.db-wal", "smtp.db-shm", "smtp.db.lock", "smtp.db.mark"}
    assert set(names.values()) == {0o600}
    await store.close()
    assert {path.name for path in folder.iterdir()} == {"smtp.db", "smtp.db.lock", "smtp.db.mark"}


WRITE_FOR_EVER = """
import asyncio, sys
from pillarbox.store import open_store, directory, messages
sys.path[:0] = sys.argv[2:]
from store_samples import message, to
async def main():
    store = await open_store(sys.argv[1])
    user = await store.read(directory.user, "alice")
    while True:
        (outcome,) = await store.write(messages.deliver, message(), [to(user)])
        print(outcome.uid, flush=True)
asyncio.run(main())
"""


async def test_killed_while_writing(folder: Path) -> None:
    path = folder / "smtp.db"
    store = await open_store(path)
    alice = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    inbox = await inbox_of(store, alice)
    await store.close()
    here = Path(__file__).parent
    paths = [str(path), str(here), str(here.parents[1])]
    child = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, *paths], stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = 0
    for line in child.stdout:
        if line.strip().isdigit():
            said = int(line)
        if said == 30:
            child.send_signal(signal.SIGKILL)
    child.stdout.close()
    child.wait()
    assert said >= 30
    assert truncate_wal(path)
    assert not (folder / "smtp.db-wal").exists()
    store = await open_store(path)
    after = await inbox_of(store, alice)
    assert after.uidvalidity == inbox.uidvalidity
    assert said <= after.message_count <= said + 1
    assert await store.check() == []
    await store.close()


def test_no_log_of_the_search_index_stays(folder: Path) -> None:
    path = folder / "search.db"
    program = (
        "import apsw, os, sys\n"
        "c = apsw.Connection(sys.argv[1]); c.execute('PRAGMA journal_mode=WAL'); c.execute('CREATE TABLE kept (x)')\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert (folder / "search.db-wal").stat().st_size
    assert truncate_wal(folder / "smtp.db")
    assert [file.name for file in folder.iterdir()] == ["search.db"]
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("kept",)]
    connection.close()
    (folder / "search.db-wal").write_bytes(b"x" * 5000)
    path.write_bytes(b"not a database" * 1000)
    assert truncate_wal(folder / "smtp.db")  # it is made anew when it is opened


async def test_truncating_while_others_use_it(sqlite_store: Store, folder: Path) -> None:
    assert not truncate_wal(folder / "smtp.db")
    assert truncate_wal(folder / "nothing.db")


async def test_checkpoints_start_the_log_over(sqlite_store: Store, folder: Path, monkeypatch: object) -> None:
    path = str(folder / "smtp.db")
    alice = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    connection, lock, mark = connect(path, "checkpointer"), WriteLock(path), Mark(path)
    frames, copied = checkpoint(connection, path, lock, mark)
    assert frames == copied > 0
    assert mark.checkpointed == mark.committed > 0
    size = (folder / "smtp.db-wal").stat().st_size
    monkeypatch.setattr(sqlite_checkpoint, "RESTART_AT", 1)  # type: ignore[attr-defined]
    checkpoint(connection, path, lock, mark)
    await sqlite_store.write(messages.deliver, message(), [to(alice)])
    assert (folder / "smtp.db-wal").stat().st_size == size  # written from its beginning again
    monkeypatch.setattr(sqlite_checkpoint, "TRUNCATE_AT", 1)  # type: ignore[attr-defined]
    checkpoint(connection, path, lock, mark)
    assert (folder / "smtp.db-wal").stat().st_size == 0
    connection.close()
    lock.close()


async def test_what_was_set_when_the_file_was_made(sqlite_store: Store, folder: Path) -> None:
    connection = connect(str(folder / "smtp.db"), "reader")
    values = {name: fetch(connection, f"PRAGMA {name}")[0] for name in ("page_size", "auto_vacuum", "journal_mode")}
    connection.close()
    assert values == {"page_size": 4096, "auto_vacuum": 2, "journal_mode": "wal"}


def test_what_an_old_reader_held_back_is_checkpointed_after_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody commits any more, or the log would stay as large as the reader made it."""
    monkeypatch.setattr(sqlite_checkpoint, "EVERY", 1000.0)
    path = str(folder / "smtp.db")
    migrate(path)
    mark = Mark(path)
    checkpointer = Checkpointer(path, mark)
    writer, reader = connect(path, "writer"), connect(path, "reader")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM users").fetchall()
    writer.execute("UPDATE store_counters SET value = value + 1 WHERE id = 1")
    checkpointer._tick()
    assert mark.checkpointed == 0
    checkpointer._tick()
    assert mark.checkpointed == 0
    reader.execute("ROLLBACK")
    checkpointer._tick()
    assert mark.checkpointed == 1
    for connection in (reader, writer):
        connection.close()
    checkpointer.close()
    mark.close()
