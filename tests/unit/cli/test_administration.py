"""`pillarbox user|domain|alias|mailbox|migrate|check` on a real store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

Run = Callable[..., tuple[int, str, str]]


def answer(outcome: tuple[int, str, str]) -> Any:
    status, out, err = outcome
    assert status == 0, err
    return json.loads(out)


def test_users(run: Run) -> None:
    ada = answer(run("user", "add", "ada@example.com", "--admin", "--quota", "3", "--json", stdin="correct horse\n"))
    assert (ada["id"], ada["role"], ada["quota_limit"]) == (1, "admin", 3 << 20)
    assert not {"password_hash", "scram_sha256"} & ada.keys()
    assert run("user", "add", "bob", "--email", "bob@example.com", stdin="correct horse\n")[0] == 0
    assert [user["username"] for user in answer(run("user", "list", "--json"))] == ["ada@example.com", "bob"]
    assert answer(run("user", "disable", "bob", "--json"))["enabled"] is False
    assert answer(run("user", "enable", "bob@example.com", "--json"))["enabled"] is True
    assert answer(run("user", "quota", "bob", "1", "--json"))["quota_limit"] == 1 << 20
    assert run("user", "password", "bob", stdin="battery staple\n")[0] == 0
    assert "bob@example.com" in run("user", "list")[1]
    assert "Email:" in run("user", "show", "bob")[1]
    assert answer(run("user", "remove", "bob", "--json"))["username"] == "bob"
    assert run("user", "show", "bob")[::2] == (1, "Error: no user bob\n")


def test_domains(run: Run) -> None:
    made = answer(run("domain", "add", "Example.NET", "--catch-all", "ada@example.com", "--json"))
    assert (made["name"], made["catch_all"]) == ("example.net", "ada@example.com")
    assert run("domain", "add", "example.net")[0] == 1
    changed = answer(run("domain", "set", "example.net", "--disable", "--catch-all", "", "--json"))
    assert (changed["enabled"], changed["catch_all"]) == (False, None)
    assert answer(run("domain", "show", "example.net", "--json"))["enabled"] is False
    assert run("domain", "remove", "example.net")[0] == 0
    assert answer(run("domain", "list", "--json")) == []


def test_aliases(run: Run) -> None:
    assert run("alias", "add", "info@example.com", "ada@example.com")[0] == 0
    assert run("alias", "add", "info@example.com", "bob@example.org")[0] == 0
    found = answer(run("alias", "show", "info@example.com", "--json"))
    assert [alias["target"] for alias in found] == ["ada@example.com", "bob@example.org"]
    assert answer(run("alias", "remove", "info@example.com", "bob@example.org", "--json"))["removed"] == 1
    assert len(answer(run("alias", "list", "--json"))) == 1
    assert run("alias", "add", "nonsense", "ada@example.com")[0] == 1
    assert "elsewhere.example is not ours" in run("alias", "add", "x@elsewhere.example", "ada@example.com")[2]
    assert run("domain", "add", "example.com")[0] == 0
    assert not run("alias", "add", "x@example.com", "ada@example.com")[2]


def test_mailboxes(run: Run) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    names = [box["name"] for box in answer(run("mailbox", "list", "ada@example.com", "--json"))]
    assert sorted(names) == ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]
    made = answer(run("mailbox", "add", "ada@example.com", "Work/2026", "--json"))
    assert (made["name"], made["subscribed"], made["messages"]) == ("Work/2026", True, 0)
    renamed = answer(run("mailbox", "rename", "ada@example.com", "Work", "Jobs", "--json"))
    assert renamed["name"] == "Jobs"
    assert answer(run("mailbox", "show", "ada@example.com", "Jobs/2026", "--json"))["id"] == made["id"]
    assert run("mailbox", "remove", "ada@example.com", "Jobs/2026")[0] == 0
    assert run("mailbox", "show", "ada@example.com", "Jobs/2026")[0] == 1


def test_check_finds_nothing_in_a_good_store(run: Run) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    status, out, _ = run("check")
    assert (status, out.endswith("no problems\n")) == (0, True)
    assert answer(run("check", "--json"))["problems"] == []


def test_check_exits_1_when_something_is_wrong(run: Run, tmp_path: Path) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    with closing(sqlite3.connect(tmp_path / "smtp.db")) as connection, connection:
        connection.execute("UPDATE mailboxes SET message_count = 7 WHERE name = 'INBOX'")
    status, out, _ = run("check")
    assert status == 1
    assert "7" in out


def test_migrations(run: Run) -> None:
    assert {step["state"] for step in answer(run("migrate", "status", "--json"))} == {"pending"}
    assert run("migrate", "up")[0] == 0
    assert run("migrate", "up")[1] == "nothing to apply\n"
    assert {step["state"] for step in answer(run("migrate", "status", "--json"))} == {"applied"}
    assert run("migrate", "to", "0")[0] == 0
    assert {step["state"] for step in answer(run("migrate", "status", "--json"))} == {"pending"}
    assert run("migrate", "to", "99")[0] == 2


def test_missing_databases_and_wrong_usage(run: Run) -> None:
    assert run("user", "list")[0] == 1
    assert run("migrate", "down")[0] == 1
    assert run("user", "frobnicate")[0] == 2
    assert run("user", "show")[0] == 2
    assert run("user", "list", "--limit", "x")[0] == 2
    assert run("--version")[1].startswith("SMTP Server v")


def test_quotas_of_messages_mailboxes_and_domains(run: Run) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    one = answer(run("user", "quota", "ada@example.com", "2", "--messages", "100", "--mailboxes", "9", "--json"))
    assert (one["quota_limit"], one["quota_messages"], one["quota_mailboxes"], one["mailboxes"]) == (2 << 20, 100, 9, 6)
    assert answer(run("user", "quota", "ada@example.com", "--messages", "0", "--json"))["quota_limit"] == 2 << 20
    assert "2 MB (0.0 used), 9 mailboxes (6 used)" in run("user", "quota", "ada@example.com")[1]
    assert "no domain" in run("domain", "quota", "example.com", "5")[2]
    run("domain", "add", "example.com")
    assert answer(run("domain", "quota", "example.com", "5", "--json"))["quota_limit"] == 5 << 20
    assert "5 MB (0.0 used)" in run("domain", "quota", "example.com")[1]
