"""The schema goes up, down and up again, on both engines, and an old program leaves a newer database alone."""

from pathlib import Path

import pytest
from store_samples import Clock

from pillarbox.store import Tx, directory, migrate, open_store
from pillarbox.store.migration import CURRENT, downgrade, upgrade, version_of
from pillarbox.store.migrations import ALL, Migration
from pillarbox.store.opening import is_postgres
from pillarbox.store.sqlite_setup import rollback


def tables(tx: Tx) -> set[str]:
    if tx.engine == "sqlite":
        rows = tx.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    else:
        rows = tx.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    return {row[0] for row in rows}


def take_back(target: str) -> list[tuple[int, str]]:
    if is_postgres(target):
        from pillarbox.store.postgres import rollback_postgres

        return [*rollback_postgres(target, 0)]
    return [*rollback(target, 0)]


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


def test_numbers_are_in_order() -> None:
    versions = [step.version for step in ALL]
    assert versions == sorted(set(versions))


def test_files_are_numbered_like_their_steps() -> None:
    import pillarbox.store.migrations as package

    folder = Path(package.__file__).parent
    assert [f"m{step.version:04}_{step.name}.py" for step in ALL] == sorted(p.name for p in folder.glob("m[0-9]*.py"))
