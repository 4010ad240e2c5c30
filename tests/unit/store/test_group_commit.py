"""The SQLite writer: what a group is, and that one function's failure is nobody else's."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import (
    Busy,
    Closed,
    Conflict,
    Full,
    Store,
    StoreError,
    Touched,
    Tx,
    directory,
    messages,
    open_store,
)
from pillarbox.store import sqlite_writer as writer
from pillarbox.store.sqlite_store import SqliteStore
from pillarbox.store.tx import DIRECTORY
from pillarbox.store.write_lock import WriteLock


@contextmanager
def one_group(folder: Path) -> Iterator[None]:
    """What is submitted inside is one group: the writer has to wait at the turnstile."""
    lock = WriteLock(str(folder / "smtp.db"))
    try:
        with lock:
            yield
    finally:
        lock.close()


async def commits(store: Store) -> int:
    (value,) = await store.read(lambda tx: tx.row("SELECT value FROM store_counters WHERE id = 1"))
    assert isinstance(value, int)
    return value


def put(tx: Tx, key: str, value: str = "x") -> str:
    tx.insert("INSERT INTO store_meta (key, value) VALUES (?, ?)", (key, value))
    return key


async def keys(store: Store) -> list[str]:
    rows = await store.read(lambda tx: tx.rows("SELECT key FROM store_meta WHERE value = 'x' ORDER BY key"))
    return [row[0] for row in rows]


async def settled(*futures: "asyncio.Future[Any]") -> list[Any]:
    return await asyncio.gather(*futures, return_exceptions=True)


async def test_what_waits_is_committed_together(sqlite_store: Store, folder: Path) -> None:
    before = await commits(sqlite_store)
    with one_group(folder):
        futures = [sqlite_store.write(put, f"k{number}") for number in range(20)]
    assert await settled(*futures) == [f"k{number}" for number in range(20)]
    assert await commits(sqlite_store) == before + 1


async def test_a_group_has_limits(sqlite_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GROUP_FUNCTIONS", 4)
    monkeypatch.setattr(writer, "GROUP_OCTETS", 100)
    before = await commits(sqlite_store)
    with one_group(folder):
        futures = [sqlite_store.write(put, f"k{number}") for number in range(8)]
        futures += [sqlite_store.write(put, f"l{number}", size=60) for number in range(4)]
    await settled(*futures)
    assert await commits(sqlite_store) == before + 4
    assert len(await keys(sqlite_store)) == 12


async def test_a_failing_function_leaves_nothing_and_harms_nobody(sqlite_store: Store, folder: Path) -> None:
    def half_done(tx: Tx) -> None:
        put(tx, "half")
        raise ValueError("no")

    with one_group(folder):
        futures = [
            sqlite_store.write(put, "a"),
            sqlite_store.write(half_done),
            sqlite_store.write(put, "a"),
            sqlite_store.write(put, "b"),
        ]
    first, second, third, fourth = await settled(*futures)
    assert (first, fourth) == ("a", "b")
    assert isinstance(second, ValueError)
    assert isinstance(third, Conflict)
    assert await keys(sqlite_store) == ["a", "b"]


async def test_a_function_that_changes_nothing_costs_no_commit(sqlite_store: Store) -> None:
    before = await commits(sqlite_store)
    assert await sqlite_store.write(lambda tx: tx.now) > 0
    assert await commits(sqlite_store) == before


async def test_an_error_that_ends_the_transaction_makes_each_run_alone(sqlite_store: Store, folder: Path) -> None:
    runs: list[str] = []

    def counted(tx: Tx, key: str) -> str:
        runs.append(key)
        return put(tx, key)

    def spoil(tx: Tx) -> None:
        tx.run("ROLLBACK")  # as SQLite itself may do on SQLITE_FULL, SQLITE_IOERR, SQLITE_NOMEM
        raise Full("no room")

    with one_group(folder):
        futures = [sqlite_store.write(counted, "a"), sqlite_store.write(spoil), sqlite_store.write(counted, "b")]
    first, second, third = await settled(*futures)
    assert (first, third) == ("a", "b")
    assert isinstance(second, Full)
    assert runs == ["a", "a", "b"]
    assert await keys(sqlite_store) == ["a", "b"]


async def test_a_full_disk_fails_what_does_not_fit_and_goes_on_later(sqlite_store: Store, folder: Path) -> None:
    user = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    (pages,) = await sqlite_store.write(lambda tx: tx.row("PRAGMA page_count"))
    await sqlite_store.write(lambda tx: tx.rows(f"PRAGMA max_page_count = {pages + 3}"))
    import os

    from pillarbox.store import blobs
    from pillarbox.store.records import NewMessage

    large = NewMessage(blobs.pack(os.urandom(200_000)), None, message().analysis)
    with one_group(folder):
        futures = [sqlite_store.write(messages.deliver, what, [to(user)]) for what in (message(), large, message())]
    small, failed, other = await settled(*futures)
    assert isinstance(failed, Full)
    assert (small[0].uid, other[0].uid) == (1, 2)
    await sqlite_store.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
    assert (await sqlite_store.write(messages.deliver, message(), [to(user)]))[0].uid == 3
    assert (await inbox_of(sqlite_store, user)).message_count == 3


async def test_a_failed_commit_fails_all(sqlite_store: Store, folder: Path) -> None:
    def broken_at_commit(tx: Tx) -> None:
        tx.run("PRAGMA defer_foreign_keys = ON")
        tx.run("INSERT INTO subscriptions (user_id, name) VALUES (999, 'x')")

    with one_group(folder):
        futures = [sqlite_store.write(put, "a"), sqlite_store.write(broken_at_commit), sqlite_store.write(put, "b")]
    results = await settled(*futures)
    assert all(isinstance(result, StoreError) for result in results)
    assert len({id(result) for result in results}) == 3
    assert await keys(sqlite_store) == []
    assert await sqlite_store.write(put, "c") == "c"


async def test_a_foreign_lock_that_stays_is_busy(
    sqlite_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = apsw.Connection(str(folder / "smtp.db"))
    foreign.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(writer, "FOREIGN_LOCK_WAIT", 0.0)
    with pytest.raises(Busy):
        await sqlite_store.write(put, "a")
    monkeypatch.undo()
    waiting = sqlite_store.write(put, "b")
    foreign.execute("COMMIT")
    foreign.close()
    assert await waiting == "b"
    assert await keys(sqlite_store) == ["b"]


async def test_a_sibling_that_never_gives_the_lock_back_is_busy(
    sqlite_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(sqlite_store, SqliteStore)
    with one_group(folder):
        futures = [sqlite_store.write(put, f"k{number}") for number in range(3)]
        while sqlite_store._writer._waiting is None:
            await asyncio.sleep(0)
        sqlite_store._writer._give_up_waiting()
        assert not any(future.done() for future in futures)  # not yet a minute
        monkeypatch.setattr(writer, "FOREIGN_LOCK_WAIT", 0.0)
        sqlite_store._writer._give_up_waiting()
        assert all(isinstance(result, Busy) for result in await settled(*futures))
    monkeypatch.undo()
    assert await sqlite_store.write(put, "later") == "later"
    assert await keys(sqlite_store) == ["later"]


async def test_what_was_cancelled_before_its_turn_does_not_happen(sqlite_store: Store, folder: Path) -> None:
    with one_group(folder):
        future, other = sqlite_store.write(put, "a"), sqlite_store.write(put, "b")
        future.cancel()
    assert await other == "b"
    assert await keys(sqlite_store) == ["b"]


async def test_watchers_hear_of_a_group_once_and_nothing_of_failures(sqlite_store: Store, folder: Path) -> None:
    told: list[frozenset[Touched]] = []
    own: list[frozenset[Touched]] = []
    sqlite_store.on_commit(told.append)
    sqlite_store.on_commit(own.append, own_only=True)

    def touch(tx: Tx, mailbox: int, fail: bool = False) -> None:
        put(tx, f"{mailbox}")
        tx.touch(1, mailbox)
        if fail:
            raise ValueError

    with one_group(folder):
        futures = [sqlite_store.write(touch, 2), sqlite_store.write(touch, 3, fail=True), sqlite_store.write(touch, 4)]
    await settled(*futures)
    assert told == own == [frozenset({Touched(1, 2), Touched(1, 4)})]
    sqlite_store.hint([Touched(1, 9)])
    assert told[-1] == frozenset({Touched(1, 9)})
    assert len(own) == 1


async def test_inline_reads_cannot_write_and_hold_nothing(sqlite_store: Store) -> None:
    with pytest.raises(StoreError):
        await sqlite_store.read(put, "a")
    with pytest.raises(StoreError):
        await sqlite_store.scan(put, "a")
    with pytest.raises(StoreError):
        sqlite_store.peek(lambda tx: tx.rows("INSERT INTO store_meta (key, value) VALUES ('a', 'x')"))
    assert isinstance(sqlite_store, SqliteStore)
    assert sqlite_store._inline is not None
    assert not sqlite_store._inline.in_transaction
    assert await keys(sqlite_store) == []


async def test_a_large_inline_read_moves_to_a_thread(sqlite_store: Store) -> None:
    def many(tx: Tx) -> int:
        return len(
            tx.rows("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500) SELECT x FROM n")
        )

    with pytest.raises(Busy):
        sqlite_store.peek(many)
    assert await sqlite_store.read(many) == 500


async def test_closing_finishes_what_was_asked_for(folder: Path) -> None:
    store = await open_store(folder / "smtp.db")
    futures = [store.write(put, f"k{number}") for number in range(50)]
    scan = store.scan(keys_of)
    closing = asyncio.ensure_future(store.close())
    assert len(await settled(*futures)) == 50
    await closing
    assert isinstance(await scan, int)
    with pytest.raises(Closed):
        await store.write(put, "late")
    with pytest.raises(Closed):
        await store.read(keys_of)
    with pytest.raises(Closed):
        await store.scan(keys_of)
    await store.close()
    reopened = await open_store(folder / "smtp.db")
    assert len(await keys(reopened)) == 50
    await reopened.close()


def keys_of(tx: Tx) -> int:
    return len(tx.rows("SELECT key FROM store_meta"))


async def test_stop_iteration_comes_back_as_an_error(store: Store) -> None:
    def exhausted(tx: Tx) -> None:
        next(iter(()))

    async with asyncio.timeout(10):
        for ask in (store.write, store.scan, store.read):
            with pytest.raises(RuntimeError):
                await ask(exhausted)


async def test_no_kind_of_exception_keeps_others_waiting(sqlite_store: Store, folder: Path) -> None:
    def raising(tx: Tx, error: BaseException) -> None:
        put(tx, "half")
        raise error

    errors = [StopIteration(1), asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), StopAsyncIteration()]
    with one_group(folder):
        futures = [sqlite_store.write(raising, error) for error in errors]
        last = sqlite_store.write(put, "last")
    async with asyncio.timeout(10):
        assert await last == "last"
    for future in futures:
        with pytest.raises(BaseException):  # noqa: B017
            future.result()
    assert await keys(sqlite_store) == ["last"]


async def test_a_watcher_that_raises_is_nobody_elses_trouble(sqlite_store: Store) -> None:
    told: list[frozenset[Touched]] = []
    groups: list[int] = []

    def broken(touched: frozenset[Touched]) -> None:
        raise ValueError("no")

    def touch(tx: Tx) -> None:
        put(tx, "a")
        tx.touch(1, 2)

    for own_only in (True, False):
        sqlite_store.on_commit(broken, own_only=own_only)
        sqlite_store.on_commit(told.append, own_only=own_only)
    sqlite_store.observer = lambda functions, nanoseconds, committed: groups.append(functions)
    await sqlite_store.write(touch)
    await asyncio.sleep(0)  # who waited goes on first
    assert told == [frozenset({Touched(1, 2)})] * 2
    assert groups == [1]


async def test_who_waited_goes_on_before_others_are_told_but_not_with_an_old_directory(sqlite_store: Store) -> None:
    order: list[object] = []
    sqlite_store.on_commit(lambda touched: order.append(set(touched)))

    def change(tx: Tx, touched: Touched) -> str:
        tx.touch(*touched)
        return put(tx, str(touched))

    mailbox = Touched(1, 2)
    order.append(await sqlite_store.write(change, mailbox))
    await asyncio.sleep(0)
    assert order == [str(mailbox), {mailbox}]
    order.clear()
    order.append(await sqlite_store.write(change, DIRECTORY))
    assert order == [{DIRECTORY}, str(DIRECTORY)]


async def test_an_observer_that_raises_keeps_nobody_waiting(sqlite_store: Store) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))

    def observer(functions: int, nanoseconds: int, committed: bool) -> None:
        raise ZeroDivisionError

    sqlite_store.observer = observer
    for key in ("a", "b", "c"):
        assert await asyncio.wait_for(sqlite_store.write(put, key), 60) == key
    await asyncio.sleep(0)  # it is told after who waited
    sqlite_store.observer = None
    await sqlite_store.write(put, "d")
    assert await keys(sqlite_store) == ["a", "b", "c", "d"]
    assert [type(failure) for failure in failures] == [ZeroDivisionError] * 3


async def test_nothing_is_told_before_it_can_be_read(sqlite_store: Store, folder: Path) -> None:
    """By the time a waiter or a watcher hears of a commit, an inline read sees it; before, it does not."""
    seen: list[bool] = []

    def present(tx: Tx) -> bool:
        return tx.row("SELECT 1 FROM store_meta WHERE key = 'a'") is not None

    def touch(tx: Tx) -> None:
        put(tx, "a")
        tx.touch(1, 2)
        inside.set()
        proceed.wait(10)

    inside, proceed = threading.Event(), threading.Event()
    sqlite_store.on_commit(lambda _: seen.append(sqlite_store.peek(present)))
    future = sqlite_store.write(touch)
    await asyncio.to_thread(inside.wait, 10)
    assert not sqlite_store.peek(present)  # nor does it wait for the writer
    assert seen == []
    proceed.set()
    await future
    assert sqlite_store.peek(present)
    await asyncio.sleep(0)
    assert seen == [True]


async def test_an_error_that_ended_the_transaction_and_was_swallowed_is_no_success(
    sqlite_store: Store, folder: Path
) -> None:
    def swallows(tx: Tx, key: str) -> str:
        put(tx, key)
        tx.run("ROLLBACK")  # as SQLite does by itself for some errors (SQLITE_FULL)
        return key

    assert [type(one) for one in await settled(sqlite_store.write(swallows, "alone"))] == [StoreError]
    with one_group(folder):
        futures = [sqlite_store.write(swallows, "many"), sqlite_store.write(put, "good")]
    assert [type(one) for one in await settled(*futures)] == [StoreError, str]
    assert await keys(sqlite_store) == ["good"]
