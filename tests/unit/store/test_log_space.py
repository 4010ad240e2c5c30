"""Room in the write-ahead log: commits do not make the file grow, and what lies behind them harms nobody."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from store_samples import Clock

from pillarbox.store import Store, directory, open_store
from pillarbox.store.log_space import NEAR, STEP, LogSpace
from pillarbox.store.sqlite_connection import connect, fetch


def log_of(folder: Path) -> Path:
    return folder / "smtp.db-wal"


async def add_user(store: Store, number: int) -> None:
    await store.write(directory.create_user, f"user{number}", f"user{number}@example.com", "hash", "scram")


def users(database: Path) -> int:
    connection = sqlite3.connect(database)
    (count,) = connection.execute("SELECT count(*) FROM users").fetchone()
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    assert verdict == "ok"
    return int(count)


async def test_the_log_grows_in_steps(sqlite_store: Store, folder: Path) -> None:
    sizes = set()
    for number in range(40):
        await add_user(sqlite_store, number)
        sizes.add(log_of(folder).stat().st_size)
    assert len(sizes) <= 2  # dozens of commits, one of which made room
    assert max(sizes) >= STEP


async def test_what_was_committed_is_there_after_a_kill(folder: Path, clock: Clock, tmp_path: Path) -> None:
    store = await open_store(folder / "smtp.db", clock=clock)
    for number in range(5):
        await add_user(store, number)
    killed = tmp_path / "smtp.db"
    shutil.copy(folder / "smtp.db", killed)
    shutil.copy(log_of(folder), tmp_path / "smtp.db-wal")
    await store.close()
    assert users(killed) == 5


async def test_room_is_made_again_after_the_log_was_cut(sqlite_store: Store, folder: Path) -> None:
    for number in range(10):
        await add_user(sqlite_store, number)
    connection = connect(str(folder / "smtp.db"), "checkpointer")
    assert fetch(connection, "PRAGMA wal_checkpoint(TRUNCATE)")[0] == 0
    connection.close()
    assert log_of(folder).stat().st_size == 0
    for number in range(10, 13):  # the first commit cannot know that it was cut
        await add_user(sqlite_store, number)
    assert log_of(folder).stat().st_size >= STEP


async def test_a_second_process_finds_the_room_that_is_there(folder: Path, clock: Clock) -> None:
    first = await open_store(folder / "smtp.db", clock=clock)
    other = await open_store(folder / "smtp.db", clock=clock)
    await add_user(first, 0)
    size = log_of(folder).stat().st_size
    for number in range(1, 10):
        await add_user((first, other)[number % 2], number)
    assert log_of(folder).stat().st_size == size
    await other.close()
    await first.close()
    assert users(folder / "smtp.db") == 10


async def test_a_disk_without_room_is_for_the_commit_to_find(
    sqlite_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pillarbox.store.log_space.os.pwrite", full)
    for number in range(5):
        await add_user(sqlite_store, number)  # SQLite writes by itself: there is room for so much
    assert log_of(folder).stat().st_size < STEP


async def test_what_comes_next_is_asked_for_before_it_is_written(
    sqlite_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    ends: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, length, advice: asked.append((start, start + length)))
    connection = connect(str(folder / "smtp.db"), "writer")
    space = LogSpace(str(folder / "smtp.db"), connection)
    connection.execute("CREATE TABLE filler (octets)")
    for _ in range(3 * NEAR // 50_000):
        connection.execute("BEGIN IMMEDIATE")
        space.make()
        connection.execute("INSERT INTO filler VALUES (zeroblob(50000))")
        connection.execute("COMMIT")
        ends.append(space._end)
    connection.close()
    assert ends[-1] > 3 * NEAR
    assert all(any(start <= end <= until for start, until in asked) for end in ends)
    assert len(asked) < 10  # not for each commit
