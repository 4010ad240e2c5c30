"""The schema goes up, down and up again, on both engines, and an old program leaves a newer database alone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_samples import Clock, inbox_of, message, to

from pillarbox.store import InUse, IoFault, StoreError, Tx, check_store, directory, messages, migrate, open_store
from pillarbox.store.migration import CURRENT, Applied, downgrade, upgrade, version_of
from pillarbox.store.migrations import ALL, Migration
from pillarbox.store.opening import is_postgres
from pillarbox.store.sqlite_connection import connect
from pillarbox.store.sqlite_setup import rollback
from pillarbox.store.sqlite_tx import SqliteTx


def tables(tx: Tx) -> set[str]:
    if tx.engine == "sqlite":
        rows = tx.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    else:
        rows = tx.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    return {row[0] for row in rows}


def take_back(target: str, version: int = 0) -> list[Applied]:
    if is_postgres(target):
        from pillarbox.store.postgres import rollback_postgres

        return rollback_postgres(target, version)
    return rollback(target, version)


def run(target: str, work: Callable[[Tx], object]) -> None:
    """What a program of another version does to the schema."""
    if is_postgres(target):
        from pillarbox.store.postgres_tx import PostgresTx
        from pillarbox.store.postgres_tx import connect as connect_postgres

        with connect_postgres(target) as opened:
            work(PostgresTx(opened, 0))
        return
    connection = connect(target, "writer")
    work(SqliteTx(connection, 0))
    connection.close()


async def test_up_down_up(target: str, clock: Clock) -> None:
    everything = [(step.version, step.name) for step in ALL]
    assert migrate(target, clock=clock) == everything
    assert migrate(target, clock=clock) == []
    store = await open_store(target, clock=clock)
    await store.write(directory.create_user, "alice", "alice@example.com", "h")
    full = await store.read(tables)
    await store.close()
    assert take_back(target) == everything[::-1]
    assert migrate(target, clock=clock) == everything
    store = await open_store(target, clock=clock)
    assert await store.read(tables) == full
    assert await store.read(directory.user, "alice") is None
    await store.write(directory.create_user, "alice", "alice@example.com", "h")
    rows = await store.read(lambda tx: tx.rows("SELECT version, name FROM schema_migrations ORDER BY version DESC"))
    assert rows == everything[::-1]
    await store.close()


async def test_steps_are_applied_in_order_and_a_newer_database_is_left_alone(target: str, clock: Clock) -> None:
    store = await open_store(target, clock=clock)
    more = (*ALL, Migration(900, "more", lambda _: ["CREATE TABLE more (x TEXT)"], lambda _: ["DROP TABLE more"]))

    def later(tx: Tx) -> None:
        assert upgrade(tx, more) == [(900, "more")]
        assert version_of(tx) == 900
        assert upgrade(tx) == []
        assert downgrade(tx, CURRENT, more) == [(900, "more")]
        assert version_of(tx) == CURRENT

    await store.write(later)
    assert "more" not in await store.read(tables)
    await store.close()


async def test_a_failing_step_leaves_the_schema_as_it_was(target: str, clock: Clock) -> None:
    store = await open_store(target, clock=clock)
    broken = (*ALL, Migration(900, "broken", lambda _: ["CREATE TABLE more (x TEXT)", "NONSENSE"], lambda _: []))
    with pytest.raises(Exception, match=r"NONSENSE|syntax"):
        await store.write(lambda tx: upgrade(tx, broken))
    assert await store.read(version_of) == CURRENT
    assert "more" not in await store.read(tables)
    await store.close()


async def test_a_database_that_is_too_new_is_refused(target: str, clock: Clock) -> None:
    store = await open_store(target, clock=clock)
    step = Migration(900, "narrow", lambda _: ["CREATE TABLE more (x TEXT)"], lambda _: ["DROP TABLE more"], least=800)
    await store.write(lambda tx: upgrade(tx, (*ALL, step)))
    await store.close()
    with pytest.raises(StoreError, match=rf"schema 900, .* know step 800; this one knows {CURRENT}\. Start the newer"):
        await open_store(target, clock=clock)
    knowing = (*ALL, Migration(800, "wide", lambda _: [], lambda _: []))
    run(target, lambda tx: upgrade(tx, knowing))  # a neighbour of that version may
    run(target, lambda tx: downgrade(tx, CURRENT, (*ALL, step)))
    assert migrate(target, clock=clock) == []


async def test_each_step_back_and_forth_with_data(target: str, clock: Clock) -> None:
    store = await open_store(target, clock=clock)
    alice = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    await store.write(messages.deliver, message(), [to(alice), to(alice)])
    await store.close()
    for version in range(CURRENT - 1, 0, -1):
        assert [step.version for step in take_back(target, version)] == [version + 1]
    assert [step.version for step in migrate(target, clock=clock)] == [*range(2, CURRENT + 1)]
    store = await open_store(target, clock=clock)
    assert (await inbox_of(store, alice)).message_count == 2
    await store.write(directory.set_enabled, "alice", False)
    assert await store.check() == []
    await store.close()


async def test_what_waits_for_its_time_still_does_after_step_17(target: str, clock: Clock) -> None:
    """And what was to be returned, but is still in a sender's hand, is held for a program that knows no wishes."""
    migrate(target, clock=clock)
    columns = "from_address, to_address, created_at, status, attempts, user_id, next_retry_at"
    insert = f"INSERT INTO message_queue ({columns}) VALUES ('ada@example.com', ?, 1000, ?, ?, ?, ?)"
    take_back(target, 16)

    def fill(tx: Tx) -> None:
        for row in (
            ("later", "pending", 0, 7, 4600),
            ("held", "held", 0, 7, None),
            ("new", "pending", 0, 7, 1000),
            ("by hand", "pending", 0, None, 4600),
            ("put off", "retry", 1, 7, 4600),
            ("claimed", "processing", 0, 7, 1300),
        ):
            tx.run(insert, row)
        tx.run("UPDATE message_queue SET wish = 'bounce', claimed_by = 'x:1:1' WHERE to_address = 'claimed'")

    run(target, fill)
    assert [step.version for step in migrate(target, clock=clock)] == [*range(17, CURRENT + 1)]
    found = "SELECT to_address, not_before FROM message_queue WHERE not_before IS NOT NULL"
    run(target, lambda tx: _same(tx.rows(found), [("later", 4600)]))
    take_back(target, 15)
    claimed = "SELECT status, next_retry_at, claimed_by FROM message_queue WHERE to_address = 'claimed'"
    run(target, lambda tx: _same(tx.rows(claimed), [("held", None, "x:1:1")]))


async def test_texts_go_with_their_summary_in_a_store_whose_step_18_made_no_trigger(target: str, clock: Clock) -> None:
    migrate(target, clock=clock)
    take_back(target, 18)
    summary = (
        "INSERT INTO summaries (id, mailbox_id, form, first_uid, last_uid, messages, ids, header, bodystructure, "
        "envelope) "
        "SELECT ?, id, 1, 1, ?, 1, ?, ?, ?, ? FROM mailboxes WHERE name = 'INBOX'"
    )
    texts = "INSERT INTO summary_texts (summary_id, form, texts) VALUES (?, 'x', ?)"

    def as_it_was(tx: Tx) -> None:
        directory.create_user(tx, "alice", "alice@example.com", "h")
        for number in (1, 2):
            tx.run(summary, (number, number, *[b""] * 4))
            tx.run(texts, (number, b""))
        if tx.engine == "sqlite":
            tx.run("DROP TRIGGER summary_texts_go")
            tx.run("PRAGMA foreign_keys=OFF")  # as the system's sqlite3
        tx.run("DELETE FROM summaries WHERE id = 1")

    def delete(tx: Tx) -> None:
        _same(tx.rows("SELECT summary_id FROM summary_texts"), [(2,)])
        if tx.engine == "sqlite":
            tx.run("PRAGMA foreign_keys=OFF")
        tx.run("DELETE FROM summaries")
        _same(tx.rows("SELECT summary_id FROM summary_texts"), [])

    run(target, as_it_was)
    for below in (18, 17):
        assert [step.version for step in migrate(target, clock=clock)][-1] == CURRENT
        if below == 18:
            run(target, delete)
        assert check_store(target) == []
        take_back(target, below)
    assert [step.version for step in migrate(target, clock=clock)] == [*range(18, CURRENT + 1)]
    assert check_store(target) == []


async def test_only_a_program_from_before_step_20_has_blobs_looked_up_for_messages(target: str, clock: Clock) -> None:
    store = await open_store(target, clock=clock)
    alice = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    await store.write(messages.deliver, message(), [to(alice, flags=8), to(alice)])
    await store.write(messages.expunge, (await inbox_of(store, alice)).id)
    await store.close()

    def references(tx: Tx) -> set[str]:
        if tx.engine == "sqlite":
            return {row[2] for row in tx.rows("PRAGMA foreign_key_list(messages)")}
        constraints = (
            "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND conrelid = ?::regclass"
        )
        return {row[0] for row in tx.rows(constraints, ("messages",))}

    seen: list[set[str]] = []
    for _ in range(2):
        run(target, lambda tx: seen.append(references(tx)))
        take_back(target, 19)
        run(target, lambda tx: seen.append(references(tx)))
        migrate(target, clock=clock)
    assert seen == [{"mailboxes"}, {"mailboxes", "blobs"}] * 2
    assert check_store(target) == []


async def test_no_way_back_while_somebody_has_the_store_open(target: str, clock: Clock) -> None:
    store = await open_store(target, clock=clock)
    await store.write(directory.create_user, "alice", "alice@example.com", "h")
    with pytest.raises(InUse, match="in use: stop the server"):
        take_back(target, 1)
    assert await store.read(version_of) == CURRENT
    await store.close()
    assert take_back(target, CURRENT - 1) == [(CURRENT, ALL[-1].name)]


def _same(found: list[Any], expected: list[Any]) -> None:
    assert [tuple(row) for row in found] == expected


@pytest.mark.parametrize("what", ["smtp.db", "."])
def test_a_database_that_cannot_be_written_to_is_refused(folder: Path, what: str) -> None:
    folder.chmod(0o711)
    home = folder / "home"
    home.mkdir()
    path = home / "smtp.db"
    migrate(path)
    place, mode = home / what, 0o500 if what == "." else 0o400
    place.chmod(mode)
    if os.geteuid() == 0:  # root may write everywhere: another account looks
        for name in (home, *home.iterdir()):
            os.chown(name, 65534, 65534)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            migrate(path)
        except IoFault as refused:
            status = 0 if "smtp.db" in str(refused) else 2
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    place.chmod(0o700)
    assert os.waitstatus_to_exitcode(ended) == 0


def test_numbers_are_in_order() -> None:
    versions = [step.version for step in ALL]
    assert versions == sorted(set(versions))


def test_files_are_numbered_like_their_steps() -> None:
    import pillarbox.store.migrations as package

    folder = Path(package.__file__).parent
    assert [f"m{step.version:04}_{step.name}.py" for step in ALL] == sorted(p.name for p in folder.glob("m[0-9]*.py"))
