"""Processes that open one database at the same time wait for each other."""

import time
from pathlib import Path
from threading import Timer

import apsw

from pillarbox.store import open_store, queue
from pillarbox.store.sqlite_connection import connect
from pillarbox.store.sqlite_setup import migrate


def test_a_connection_waits_while_another_process_recovers_the_log(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.db")
    migrate(path)
    other = apsw.Connection(path)
    other.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
    other.execute("BEGIN IMMEDIATE")
    done = Timer(0.05, other.close)
    done.start()
    connection = connect(path, "inline")
    done.join()
    assert connection.execute("SELECT count(*) FROM users").fetchall() == [(0,)]
    connection.close()


async def test_who_only_reads_waits_for_no_foreign_writer(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.db")
    migrate(path)
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    store = await open_store(path)
    assert (await store.scan(queue.counts)).total == 0
    await store.close()
    assert time.monotonic() - began < 5, "a writer would wait for a minute"
    other.close()
