"""Stores for tests: every test that takes `store` runs on SQLite and on PostgreSQL, and ends with `store.check()`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from empty_store import put_empty_store
from own_postgres import MEMORY, OwnPostgres
from pillarbox.store import Store, directory, migrate, open_store
from pillarbox.store.records import User

sys.path.insert(0, str(Path(__file__).parent))

from store_samples import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def postgres_url(postgres_server: OwnPostgres) -> str:
    """An empty schema of its own."""
    return postgres_server.new_schema()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a database."""
    with tempfile.TemporaryDirectory(prefix="pillarbox-", dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, folder: Path) -> str:
    """Where a store of either engine may be made: there is nothing yet."""
    if request.param == "sqlite":
        return str(folder / "smtp.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def used_schema(postgres_server: OwnPostgres) -> str:
    """A schema with its tables, used by one test after the other: making one takes longer than most tests."""
    url = postgres_server.new_schema()
    migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, folder: Path) -> str:
    """Where an empty store of either engine is."""
    if request.param == "sqlite":
        put_empty_store(folder / "smtp.db")
        return str(folder / "smtp.db")
    url: str = request.getfixturevalue("used_schema")
    import psycopg

    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
        kept = {"schema_migrations", "store_counters"}
        emptied = ", ".join(name for (name,) in rows if name not in kept)
        connection.execute(f"TRUNCATE {emptied} RESTART IDENTITY CASCADE".encode())
        connection.execute("UPDATE store_counters SET value = 0")
    return url


@pytest.fixture
async def store(place: str, clock: Clock) -> AsyncIterator[Store]:
    opened = await open_store(place, clock=clock)
    yield opened
    problems = await opened.check()
    await opened.close()
    assert problems == []


@pytest.fixture
async def sqlite_store(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    put_empty_store(folder / "smtp.db")
    opened = await open_store(folder / "smtp.db", clock=clock)
    yield opened
    problems = await opened.check()
    await opened.close()
    assert problems == []


@pytest.fixture
async def alice(store: Store) -> User:
    user: User = await store.write(directory.create_user, "alice", "alice@example.com", "hash", "scram")
    return user


@pytest.fixture
async def bob(store: Store) -> User:
    user: User = await store.write(directory.create_user, "bob", "bob@example.com", "hash", "scram")
    return user
