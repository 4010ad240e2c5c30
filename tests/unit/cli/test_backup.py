"""`pillarbox backup` and `pillarbox pause` on a real store."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pillarbox.cli import pillarbox
from pillarbox.cli.accounts import write
from pillarbox.store import directory

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "smtp.db"
    monkeypatch.setenv("SMTP_DB_PATH", str(path))
    write(path, lambda tx: directory.create_user(tx, "ada", "ada@example.com", "h"), create=True)
    return path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> tuple[int, str, str]:
        status = pillarbox.main(argv)
        return (status, *capfd.readouterr())

    return call


def test_a_copy_that_can_be_used(run: Run, database: Path, tmp_path: Path) -> None:
    target = tmp_path / "smtp-backup.db"
    status, out, _ = run("backup", str(target))
    assert (status, out.startswith(f"Backup successful: {target}, ")) == (0, True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with closing(sqlite3.connect(target)) as copy, copy:
        assert copy.execute("SELECT username, enabled FROM users").fetchall() == [("ada", 1)]
    assert run("check", "--db", str(target))[:2] == (0, f"{target}: no problems\n")
    assert sorted(path.name for path in tmp_path.glob("smtp-backup*")) == ["smtp-backup.db"]


def test_as_json(run: Run, database: Path, tmp_path: Path) -> None:
    status, out, _ = run("backup", str(tmp_path / "copy.db"), "--json")
    facts = json.loads(out)
    assert (status, facts["integrity_check"], facts["database"]) == (0, "ok", str(database))
    assert facts["size"] == (tmp_path / "copy.db").stat().st_size


def test_a_backup_never_replaces_anything(run: Run, database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    assert run("backup", str(target))[::2] == (1, f"Error: {target} exists\n")
    assert target.read_text() == "precious"
    (tmp_path / "other.db.partial").touch()  # one that is being made, or was killed
    status, _, err = run("backup", str(tmp_path / "other.db"))
    assert (status, "then remove it" in err) == (1, True)
    assert not (tmp_path / "other.db").exists()


def test_a_copy_that_is_not_sound_is_none(run: Run, database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as broken, broken:
        broken.execute("PRAGMA writable_schema=ON")
        broken.execute("DELETE FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")  # pages of nobody
    broken.close()
    status, _, err = run("backup", str(tmp_path / "copy.db"))
    assert (status, "the copy is not sound" in err) == (1, True)
    assert not list(tmp_path.glob("copy.db*"))


def test_no_database_and_no_folder(run: Run, tmp_path: Path, database: Path) -> None:
    missing = tmp_path / "none.db"
    assert run("backup", str(tmp_path / "copy.db"), "--db", str(missing))[0] == 1
    status, _, err = run("backup", str(tmp_path / "nowhere" / "copy.db"))
    assert (status, "No such file or directory" in err) == (1, True)
    assert not missing.exists()


def test_writers_wait_while_a_command_runs(run: Run, database: Path) -> None:
    # The command looks whether the lock for writing is to be had, as another process of the server would.
    look = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))
    print("free")
except OSError:
    print("taken")
"""
    argv = [sys.executable, "-c", look, f"{database}.lock"]
    assert run("pause", "20", *argv) == (0, "taken\n", "")
    assert subprocess.run(argv, check=True, capture_output=True).stdout == b"free\n"


def test_sqlite3_copies_in_the_pause(run: Run, database: Path, tmp_path: Path) -> None:
    copy = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"
    argv = [sys.executable, "-c", copy, str(database), str(tmp_path / "copy.db")]
    assert run("pause", "20", *argv)[0] == 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as made, made:
        assert made.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_the_status_is_the_commands(run: Run, database: Path) -> None:
    assert run("pause", "20", sys.executable, "-c", "raise SystemExit(7)")[0] == 7
    assert run("pause", "20", "/nonexistent/program")[::2] == (
        1,
        "Error: /nonexistent/program: no such file or directory\n",
    )


def test_a_pause_ends_on_time(run: Run, database: Path) -> None:
    status, out, _ = run("pause", "0.01")
    assert (status, out) == (0, "Paused for 0.01 s\n")
    slow = [sys.executable, "-c", "import time; time.sleep(0.3); raise SystemExit(3)"]
    status, _, err = run("pause", "0.01", *slow)
    assert (status, "are over and mail goes on" in err) == (3, True)


def test_wrong_usage(run: Run, database: Path) -> None:
    assert run("pause", "61")[0] == 2
    assert run("pause", "5", "--db", str(database))[0] == 2
    assert run("pause")[0] == 2
