"""Stores for tests: every test that takes `store` runs on SQLite and on PostgreSQL, and ends with `store.check()`.

PostgreSQL is a private server on a socket in a temporary folder, started once; where its programs are not installed
those tests are skipped.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from empty_store import put_empty_store
from pillarbox.store import Store, directory, migrate, open_store
from pillarbox.store.records import User

sys.path.insert(0, str(Path(__file__).parent))

from store_samples import Clock

# In memory where there is such a place: these tests sync all the time.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _postgres_programs() -> Path | None:
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of a running server's socket."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pillarbox-pg-", dir=MEMORY))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = [entry.pw_name for entry in pwd.getpwall()]
        account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    try:
        run(f"{programs}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        settings = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c deadlock_timeout=50ms"
        options = f"-c listen_addresses='' -k {folder} {settings}"
        run(f"{programs}/pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield str(folder)
        finally:
            run(f"{programs}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_numbers = itertools.count()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """An empty schema of its own."""
    return new_schema(postgres_server)


def new_schema(socket_folder: str) -> str:
    import psycopg

    schema = f"test_{next(_numbers)}"
    url = f"postgresql:///postgres?host={quote(socket_folder)}&user=postgres"
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return f"{url}&options=-csearch_path%3D{schema}"


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
def used_schema(postgres_server: str) -> str:
    """A schema with its tables, used by one test after the other: making one takes longer than most tests."""
    url = new_schema(postgres_server)
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
