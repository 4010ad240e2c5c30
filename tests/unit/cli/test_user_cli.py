"""`user-cli`: every spelling of the documents, passwords by pipe, exit statuses, on a real store."""

from __future__ import annotations

import io
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pillarbox.access import passwords
from pillarbox.cli import user_cli
from pillarbox.cli.flags import UsageError
from pillarbox.cli.secrets_input import obtain_password

Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "smtp.db"
    monkeypatch.setenv("SMTP_DB_PATH", str(path))
    # argon2 costs 100 ms on purpose; here its place is taken by something that only tells passwords apart.
    monkeypatch.setattr(passwords, "hash_password", lambda text: (f"hash of {text}", f"scram of {text}"))
    monkeypatch.setattr(passwords, "verify", lambda hashed, text: hashed == f"hash of {text}")
    return path


@pytest.fixture
def run(database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = user_cli.main(argv)
        return (status, *capsys.readouterr())

    return call


def stored(database: Path, username: str) -> tuple[str, str, str, int]:
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(
            "SELECT email, password_hash, role, enabled FROM users WHERE username = ?", (username,)
        ).fetchone()


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["create", "ada@example.com", "--password", "correct horse", "--email", "ada@example.com"], ""),
        (["create", "ada@example.com", "correct horse", "ada@example.com"], ""),
        (["create", "ada@example.com", "ada@example.com", "correct horse"], ""),
        (["create", "ada@example.com", "--password-stdin"], "correct horse\n"),
        (["create", "ada@example.com", "--password", "-"], "correct horse\n"),
        (["create", "ada@example.com", "-", "ada@example.com"], "correct horse\n"),
        (["create", "ada@example.com"], "correct horse\r\n"),
        (["create", "ada@example.com", "ada@example.com"], "correct horse"),
        (["create", "ada@example.com", "correct horse", "--email=ada@example.com"], ""),
        (["add", "ada@example.com", "--password", "correct horse"], ""),
    ],
)
def test_create_in_every_spelling(run: Run, database: Path, argv: list[str], stdin: str) -> None:
    status, out, _ = run(*argv, stdin=stdin)
    assert status == 0
    assert out == "User created successfully!\n  ID: 1\n  Username: ada@example.com\n  Email: ada@example.com\n"
    assert stored(database, "ada@example.com") == ("ada@example.com", "hash of correct horse", "user", 1)
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_plain_username_needs_an_address(run: Run, database: Path) -> None:
    assert run("create", "ada", stdin="correct horse\n")[0] == 2
    assert run("create", "ada", "p@ss", "ada@example.com")[0] == 0
    assert stored(database, "ada")[:2] == ("ada@example.com", "hash of p@ss")


def test_of_two_addresses_the_last_is_the_address() -> None:
    assert user_cli.name_password_address(["ada", "p@ss.word", "a@b.c"], None, None) == ("ada", "p@ss.word", "a@b.c")


def test_an_administrator(run: Run, database: Path) -> None:
    assert run("add", "root@example.com", "--admin", "--password", "correct horse")[0] == 0
    assert stored(database, "root@example.com")[2] == "admin"


def test_a_name_that_is_taken(run: Run) -> None:
    run("create", "ada@example.com", "--password", "correct horse")
    status, _, err = run("create", "ada@example.com", "--password", "correct horse")
    assert (status, err) == (1, "Error: User 'ada@example.com' already exists\n")


def test_verify_says_and_exits(run: Run) -> None:
    run("create", "ada@example.com", "--password", "correct horse")
    assert run("verify", "ada@example.com", "correct horse")[:2] == (0, "✓ Credentials are valid\n")
    assert run("verify", "ada@example.com", stdin="correct horse\n")[0] == 0
    assert run("verify", "ada@example.com", stdin="wrong\n")[:2] == (1, "✗ Invalid credentials\n")
    assert run("verify", "bob@example.com", stdin="wrong\n")[:2] == (1, "✗ Invalid credentials\n")
    run("disable", "ada@example.com")
    assert run("verify", "ada@example.com", stdin="correct horse\n")[0] == 1


@pytest.mark.parametrize("command", ["change-password", "update-password", "reset"])
def test_changing_a_password(run: Run, database: Path, command: str) -> None:
    run("create", "ada@example.com", "--password", "correct horse")
    assert run(command, "ada@example.com", "--password-stdin", stdin="battery staple\n")[0] == 0
    assert stored(database, "ada@example.com")[1] == "hash of battery staple"
    assert run(command, "ada@example.com", "third one")[0] == 0
    assert stored(database, "ada@example.com")[1] == "hash of third one"


def test_reset_makes_a_password_and_shows_it(run: Run, database: Path) -> None:
    run("create", "ada@example.com", "--password", "correct horse")
    status, out, _ = run("reset", "ada@example.com")
    password = out.rpartition(": ")[2].strip()
    assert status == 0
    assert len(password) == 30 and password.isalnum()
    assert stored(database, "ada@example.com")[1] == f"hash of {password}"


def test_enable_disable_quota_info_and_list(run: Run) -> None:
    run("create", "ada@example.com", "--password", "correct horse")
    run("create", "bob@example.com", "--password", "correct horse")
    assert run("disable", "ada@example.com")[0] == 0
    assert "Enabled: false" in run("info", "ada@example.com")[1]
    assert run("enable", "ada@example.com")[0] == 0
    assert run("set-quota", "ada@example.com", "5")[0] == 0
    out = run("info", "ada@example.com")[1]
    for line in ("ID: 1", "Username: ada@example.com", "Enabled: true", "Quota: 5 MB", "Used: 0.0 MB (0.0 %)"):
        assert line in out.splitlines()
    assert "2 user(s)" in run("list")[1]
    out = run("list", "--limit", "1")[1]
    assert "ada@example.com" in out
    assert "bob@example.com" not in out


def test_delete(run: Run, database: Path) -> None:
    run("create", "ada@example.com", "--password", "correct horse")
    assert run("delete", "ada@example.com")[0] == 0
    assert stored(database, "ada@example.com") is None


@pytest.mark.parametrize(
    "argv", [["delete"], ["enable"], ["disable"], ["info"], ["set-quota", "5"], ["change-password", "long enough"]]
)
def test_unknown_users_are_an_error(run: Run, argv: list[str]) -> None:
    run("init")
    status, _, err = run(argv[0], "nobody@example.com", *argv[1:])
    assert (status, err) == (1, "Error: User 'nobody@example.com' not found\n")


@pytest.mark.parametrize(
    "argv",
    [[], ["frobnicate"], ["create"], ["info"], ["set-quota", "ada", "many"], ["list", "--limit", "x"], ["--nope"]],
)
def test_wrong_usage_is_2(run: Run, argv: list[str]) -> None:
    run("init")
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err


def test_init_makes_the_database_once(run: Run, database: Path) -> None:
    assert run("init")[:2] == (0, f"Database initialized at {database}\n")
    assert run("init-db")[:2] == (0, f"Database at {database} is up to date\n")


def test_only_what_makes_accounts_makes_a_database(run: Run, database: Path, tmp_path: Path) -> None:
    status, _, err = run("list")
    assert (status, err) == (1, f"Error: no database at {database}; `user-cli init` makes one\n")
    assert not database.exists()
    assert run("--db", str(tmp_path / "gone" / "x.db"), "init")[0] == 1


def test_help_has_every_command(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    assert all(command.names[0] in out for command in user_cli.COMMANDS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_prompt_asks_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["one", "one", "one", "two", "three"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    assert obtain_password(None, from_stdin=False, confirm=True, stdin=Terminal()) == "one"
    assert "fewer than 8 characters" in capsys.readouterr().err
    with pytest.raises(UsageError, match="differ"):
        obtain_password(None, from_stdin=False, confirm=True, stdin=Terminal())
    assert obtain_password(None, from_stdin=False, confirm=False, stdin=Terminal()) == "three"


def test_no_password_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no password"):
        obtain_password(None, from_stdin=True, confirm=True, stdin=io.StringIO(""))
    with pytest.raises(UsageError, match="once"):
        obtain_password("a", from_stdin=True, confirm=True, stdin=io.StringIO("b"))


def test_what_is_not_utf8_is_wrong_usage(run: Run, database: Path) -> None:
    for argv in (["create", "b\udcff@example.com", "correct horse"], ["info", "\udcff"]):
        status, _, err = run(*argv)
        assert (status, err.endswith("is not UTF-8\n")) == (2, True)
    assert run("create", "ada@example.com", stdin="horse\udcff\n") == (2, "", "Error: the password is not UTF-8\n")


def test_a_closed_input_and_the_end_of_input_at_the_prompt_are_no_password(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillarbox.cli import user_cli

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def end(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", end)
    for stdin in (None, Terminal()):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert user_cli.main(["create", "ada@example.com"]) == 2


def test_a_terminal_without_unicode_ends_no_command(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillarbox.cli import user_cli

    assert run("create", "ünï", "--email", "u@example.com", "--password", "correct horse")[0] == 0
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert user_cli.main(["list"]) == 0
    narrow.seek(0)
    assert "?n?" in narrow.read()


def test_the_version(run: Run) -> None:
    status, out, _ = run("--version")
    assert (status, out.startswith("SMTP Server v")) == (0, True)


@pytest.mark.parametrize("words", [("init",), ("create", "ada@example.com", "--password", "correct horse")])
def test_a_folder_that_is_not_there(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    status, _, err = run(*words, "--db", str(tmp_path / "lost" / "smtp.db"))
    assert (status, err) == (1, f"Error: there is no folder {tmp_path}/lost; make it, or set SMTP_DB_PATH\n")
