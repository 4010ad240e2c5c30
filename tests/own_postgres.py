"""A private PostgreSQL for tests, on a socket in a temporary folder; skipped where its programs are not installed.

It does not sync, which only a machine that stops would show: what was committed survives the end of its processes.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

# In memory where there is such a place: what runs on it writes all the time.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_SETTINGS = "-c fsync=off -c full_page_writes=off -c deadlock_timeout=50ms"
_numbers = itertools.count()


def _programs() -> Path | None:
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


class OwnPostgres:
    """One server. `url` is its database `postgres`; `new_schema` makes the place of another store in it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self._data = programs, folder, folder / "data"
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            names = [entry.pw_name for entry in pwd.getpwall()]
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(folder, account.pw_uid, account.pw_gid)
            self._as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.url = f"postgresql:///postgres?host={quote(str(folder))}&user=postgres"

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder} {_SETTINGS}"
        self._run("pg_ctl", "-o", options, "-l", str(self._folder / "log"), "-w", "start")

    def stop(self) -> None:
        """As if all its processes were killed."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    @contextmanager
    def down(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def new_schema(self) -> str:
        """The URL of an empty schema of its own."""
        schema = f"test_{next(_numbers)}"
        with psycopg.connect(self.url) as connection:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        return f"{self.url}&options=-csearch_path%3D{schema}"

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as_user, str(self._programs / program), "-D", str(self._data), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[OwnPostgres]:
    """Started once."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pillarbox-pg-", dir=MEMORY))
    try:
        server = OwnPostgres(programs, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
