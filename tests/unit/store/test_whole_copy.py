"""A whole store in another database: every row as it is, numbers that go on, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from store_samples import Clock, inbox_of, message, raw_message, to

from own_postgres import OwnPostgres
from pillarbox.mime.analysis import analyse
from pillarbox.store import (
    Conflict,
    InUse,
    Store,
    StoreError,
    Tx,
    annotating,
    bans,
    blobs,
    check_store,
    directory,
    imports,
    leases,
    lists,
    mailboxes,
    messages,
    metadata,
    migrate,
    open_store,
    queue_claim,
    rights,
    routes,
    senders,
    sharing,
    summaries,
    summary_texts,
    tokens,
    whole_copy,
)
from pillarbox.store.annotating import Change
from pillarbox.store.migration import CURRENT
from pillarbox.store.opening import rollback
from pillarbox.store.records import NewMessage, Queued
from pillarbox.store.whole_copy import copy_store
from pillarbox.store.whole_copy_tables import tables

Place = Callable[[str], str]


@pytest.fixture
def place(folder: Path, postgres_server: OwnPostgres) -> Place:
    """Where a store of an engine may be made."""
    return lambda engine: str(folder / "here" / "smtp.db") if engine == "sqlite" else postgres_server.new_schema()


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def way(request: pytest.FixtureRequest, folder: Path, place: Place) -> tuple[str, str]:
    (folder / "here").mkdir()
    one, two = request.param.split(" to ")
    return place(one), place(two)


async def fill(store: Store) -> None:
    """Something in every table that is not derived."""
    alice = await store.write(directory.create_user, "alice", "alice@example.com", "$hash", "scram")
    bob = await store.write(directory.create_user, "Bob", "bob@example.com", "$hash2")
    gone = await store.write(directory.create_user, "gone", "gone@example.com", "h")
    await store.write(directory.delete_user, gone.username)
    await store.write(directory.create_domain, "example.com", "bob@example.com")
    await store.write(directory.add_alias, "a@example.com", "bob@example.com")
    await store.write(lists.create_list, "all@example.com", "bob@example.com")
    await store.write(lists.add_members, "all@example.com", ["alice@example.com", "x@example.net"])
    await store.write(bans.ban, "192.0.2.7", 60, "guesses")
    await store.write(leases.acquire, "sweep", "machine:1:1", 60)
    await store.write(tokens.add, alice.id, "t0ken", expires_at=None)
    await store.write(senders.grant, alice.id, "sales@example.com")
    await store.write(routes.create_route, "sink", "smarthost", host="relay.test", username="u", password="s3cret")
    await store.write(routes.add_rule, "recipient", "*", "sink")
    inbox = await inbox_of(store, alice)
    work = await store.write(mailboxes.create, alice.id, "Work")
    for number in range(40):
        text = message(f"über {number}", "\0".join("text") if number == 3 else "text\r\n")
        keywords = ("$Work", "b") if number % 3 else ()
        plans = [to(alice, flags=number % 32, keywords=keywords), to(bob)]
        await store.write(messages.deliver, text, plans)
    large = raw_message("large", "0123456789abcdef\r\n" * 40_000)
    pieces = [large[at : at + 262_144] for at in range(0, len(large), 262_144)]
    unfinished = await store.write(blobs.begin, "machine:1:1")
    for number, piece in enumerate(pieces):
        await store.write(blobs.add_chunk, unfinished, number, number * 262_144, len(piece), blobs.pack(piece))
    whole = NewMessage(None, unfinished, analyse(large))
    await store.write(messages.deliver, whole, [to(alice)])
    await store.write(annotating.store, inbox.id, alice.id, [1, 2, 5], [Change("/comment", False, b"mine\0")])
    await store.write(messages.store_flags, inbox.id, [4, 5, 6], "set", 8)
    await store.write(messages.expunge, inbox.id, [4, 5])
    await store.write(imports.attach, alice.id, "old server", "Work", "Work")
    await store.write(messages.move, inbox.id, [7, 8], work.id)
    await store.write(metadata.store, alice.id, inbox.id, [("/private/comment", b"\xff")])
    await store.write(rights.change, alice.id, inbox.id, "bob", "replace", "lrs")
    await store.write(mailboxes.create, bob.id, "Old")
    await store.write(sharing.rename, bob.id, "Old", "Older")
    await store.write(sharing.delete, bob.id, "Older")
    passing = [Queued("alice@example.com", f"{n}@example.net", destination="mx example.net") for n in range(3)]
    await store.write(messages.deliver, message("out"), [*passing, Queued("", "held@example.net", held=True)])
    for destination in await store.write(queue_claim.due_destinations, "machine:1:1", 10, 60):
        await store.write(queue_claim.claim, destination.id, "machine:1:1", 1, 60)
    while packed := await store.scan(summaries.due):
        for order in packed:
            await store.write(summaries.put, order)
    for texts in await store.scan(summary_texts.due):
        await store.write(summary_texts.put, texts)


# What the sample leaves empty: it would take large mailboxes, days, or an account that sends.
EMPTY = {
    "client_certificates",
    "imported",
    "known_recipients",
    "message_events",
    "sending_usage",
    "unreferenced_blobs",
    "view_blocks",
    "view_packs",
}


def everything(tx: Tx) -> dict[str, list[Any]]:
    """All rows, without what a copy has of its own: its epoch, and a file its count of commits."""
    rows = {table.name: tx.rows(f"SELECT {table.listed} FROM {table.name} ORDER BY {table.key}") for table in tables()}
    rows["store_meta"] = [row for row in rows["store_meta"] if row[1] != "jmap_epoch"]
    rows["store_counters"] = [row for row in rows["store_counters"] if row[1] != "commits"]
    return rows


def numbers(tx: Tx) -> list[int]:
    """The ids that the next rows get."""
    new = [
        "INSERT INTO blobs (created_at) VALUES (1)",
        "INSERT INTO message_queue (from_address, to_address, created_at) VALUES ('a@x', 'b@x', 1)",
        "INSERT INTO domains (name, created_at) VALUES ('new.example', 1)",
    ]
    return [tx.insert(sql) for sql in new]


async def numbers_of(store: Store) -> list[int]:
    """Nothing is kept of it."""
    found: list[list[int]] = []

    def look(tx: Tx) -> None:
        found.append(numbers(tx))
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(look)
    return found[-1]


async def test_there_and_back(way: tuple[str, str], place: Place, clock: Clock) -> None:
    source, target = way
    store = await open_store(source, clock=clock)
    await fill(store)
    last = await store.write(lambda tx: tx.insert("INSERT INTO domains (name, created_at) VALUES ('gone.test', 1)"))
    await store.write(directory.delete_domain, "gone.test")  # whose number nothing else may get
    before = await store.scan(everything)
    assert {name for name, rows in before.items() if not rows} == EMPTY
    await store.close()
    copied = copy_store(source, target)
    assert copied.rows == {name: len(rows) + (name == "store_meta") for name, rows in before.items()} | {
        "store_counters": copied.rows["store_counters"]
    }
    assert copied.left_out == []
    again = place("sqlite" if target.startswith("postgresql") else "postgresql")
    if again == source:
        again += ".back"
    copy_store(target, again)
    for copy in (target, again):
        assert check_store(copy) == []
        assert migrate(copy, clock=clock) == []  # and nothing went back in time: the UIDVALIDITYs would tell
        store = await open_store(copy, clock=clock)
        assert await store.scan(everything) == before
        assert (await numbers_of(store))[2] == last + 1
        await store.close()
    assert check_store(source) == []


async def test_new_numbers_follow_those_of_all_that_ever_was(way: tuple[str, str], clock: Clock) -> None:
    source, target = way
    store = await open_store(source, clock=clock)
    await fill(store)
    expected = await numbers_of(store)
    await store.close()
    copy_store(source, target)
    store = await open_store(target, clock=clock)
    found = await numbers_of(store)
    assert all(new >= old for new, old in zip(found, expected, strict=True))
    alice = await store.read(directory.user, "alice")
    assert alice is not None
    inbox = await inbox_of(store, alice)
    (outcome,) = await store.write(messages.deliver, message("after"), [to(alice)])
    assert (outcome.uid, outcome.uidvalidity) == (inbox.uidnext, inbox.uidvalidity)
    queued = await store.write(messages.deliver, message("out"), [Queued("a@x.y", "b@example.net", destination="d")])
    assert queued[0].queue_id is not None
    due = await store.read(lambda tx: tx.row("SELECT due_at FROM destinations WHERE name = 'd'"))
    assert due is not None and due[0] is not None  # the triggers work again
    version = "SELECT value FROM store_counters WHERE name = 'directory'"
    was = await store.read(lambda tx: tx.row(version))
    await store.write(lambda tx: tx.run("UPDATE users SET enabled = 0 WHERE username = 'alice'"))
    assert await store.read(lambda tx: tx.row(version)) != was
    assert await store.check() == []
    await store.close()


async def test_nothing_but_an_empty_place_is_taken(way: tuple[str, str], clock: Clock) -> None:
    source, target = way
    migrate(source)
    store = await open_store(target, clock=clock)
    await store.write(directory.create_user, "carol", "carol@example.com", "h")
    await store.close()
    with pytest.raises(Conflict, match=r"is not empty|exists"):
        copy_store(source, target)
    assert check_store(target) == []
    store = await open_store(target, clock=clock)
    assert [user.username for user in await store.read(directory.users)] == ["carol"]
    await store.close()


async def test_a_database_where_a_node_was_started_before(folder: Path, postgres_url: str, clock: Clock) -> None:
    (folder / "smtp.db").touch()
    source = str(folder / "smtp.db")
    store = await open_store(source, clock=clock)
    await fill(store)
    before = await store.scan(everything)
    await store.close()
    store = await open_store(postgres_url, clock=clock)
    await store.write(leases.acquire, "sweep", "another:1:1", 60)
    await store.close()
    copy_store(source, postgres_url)
    store = await open_store(postgres_url, clock=clock)
    assert await store.scan(everything) == before
    await store.close()


async def test_refused_while_either_is_open(way: tuple[str, str], clock: Clock) -> None:
    source, target = way
    store = await open_store(source, clock=clock)
    await store.scan(lambda tx: tx.row("SELECT 1"))
    with pytest.raises(InUse, match="stop the server"):
        copy_store(source, target)
    await store.close()
    if target.startswith("postgresql"):
        store = await open_store(target, clock=clock)
        await store.scan(lambda tx: tx.row("SELECT 1"))
        with pytest.raises(InUse, match="stop the server"):
            copy_store(source, target)
        await store.close()
    copy_store(source, target)
    assert check_store(target) == []


async def test_what_fails_leaves_nothing(way: tuple[str, str], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = way
    store = await open_store(source, clock=clock)
    await fill(store)
    await store.close()

    class Stopped(Exception):
        pass

    @contextmanager
    def progress(total: int) -> Iterator[Callable[[int, int], None]]:
        def show(rows: int, messages: int) -> None:
            if rows > total // 2:
                raise Stopped

        yield show

    monkeypatch.setattr(whole_copy, "_EVERY", 1)
    with pytest.raises(Stopped):
        copy_store(source, target, progress)
    if target.startswith("postgresql"):
        assert check_store(target) == ["The database has no schema of a store."]
    else:
        assert not list(Path(target).parent.iterdir())
    copy_store(source, target)
    assert check_store(target) == []


async def test_another_version_of_the_schema_is_refused(way: tuple[str, str]) -> None:
    source, target = way
    migrate(source)
    if target.startswith("postgresql"):
        migrate(target)
        rollback(target, CURRENT - 1)
        with pytest.raises(
            StoreError, match=f"schema {CURRENT - 1}, this program has {CURRENT}: `pillarbox migrate up"
        ):
            copy_store(source, target)
        migrate(target)
    rollback(source, CURRENT - 1)  # which is brought up to date, as by every command
    copy_store(source, target)
    assert check_store(target) == []


async def test_what_sqlite_keeps_and_postgresql_does_not(folder: Path, postgres_url: str, clock: Clock) -> None:
    """A message written by hand is a text, and what is no number is named."""
    source = str(folder / "smtp.db")
    migrate(source)
    columns = "from_address, to_address, message_data, created_at, next_retry_at"
    with closing(sqlite3.connect(source)) as by_hand, by_hand:
        by_hand.execute(f"INSERT INTO message_queue ({columns}) VALUES ('a@x', 'b@x', 'Subject: ü', 1, 'soon')")
        by_hand.execute("CREATE TABLE notes (text)")
    with pytest.raises(StoreError, match="message_queue has 'soon' as next_retry_at of row 1"):
        copy_store(source, postgres_url)
    with closing(sqlite3.connect(source)) as by_hand, by_hand:
        by_hand.execute("UPDATE message_queue SET next_retry_at = NULL, last_error = 'a' || char(0)")
    assert copy_store(source, postgres_url).left_out == ["notes"]
    store = await open_store(postgres_url, clock=clock)
    found = await store.read(lambda tx: tx.row("SELECT message_data, last_error FROM message_queue"))
    assert found == ("Subject: ü".encode(), "a\ufffd")
    await store.close()


async def test_a_file_with_references_to_nothing_is_named_before_anything_is_copied(
    folder: Path, postgres_url: str, clock: Clock
) -> None:
    source = str(folder / "smtp.db")
    store = await open_store(source, clock=clock)
    await fill(store)
    await store.close()
    with closing(sqlite3.connect(source)) as by_hand, by_hand:
        by_hand.execute("DELETE FROM users WHERE username = 'Bob'")
    with pytest.raises(StoreError, match=r"is not whole: Row .* `pillarbox check` names all"):
        copy_store(source, postgres_url)


async def test_a_mark_that_another_file_left_is_gone_beyond(folder: Path, postgres_url: str, clock: Clock) -> None:
    """A file that is put where one has been: clients keep what they know."""
    source = str(folder / "smtp.db")
    store = await open_store(source, clock=clock)
    await fill(store)
    before = await store.scan(everything)
    await store.close()
    copy_store(source, postgres_url)
    Path(source).unlink()
    assert Path(f"{source}.mark").exists()
    copy_store(postgres_url, source)
    store = await open_store(source, clock=clock)
    assert await store.scan(everything) == before
    await store.close()
