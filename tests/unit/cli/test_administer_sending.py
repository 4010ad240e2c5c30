"""`pillarbox user grant|hold|release|purge` and `pillarbox token` on a real store."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pillarbox.access import passwords
from pillarbox.access.bearer import token_hash
from pillarbox.cli import accounts, pillarbox
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery, tokens, usage
from pillarbox.store.records import NewMessage, Queued
from pillarbox.store.tx import Tx

Run = Callable[..., tuple[int, str, str]]
CONTENT = b"Subject: x\r\n\r\nx\r\n"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "smtp.db"


@pytest.fixture
def run(db: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("SMTP_DB_PATH", str(db))
    monkeypatch.setattr(passwords, "hash_password", lambda text: ("hash", "scram"))

    def call(*argv: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = pillarbox.main(argv)
        return (status, *capsys.readouterr())

    for name in ("ada@example.com", "bob@example.com"):
        assert call("user", "add", name, stdin="correct horse\n")[0] == 0
    return call


def answer(outcome: tuple[int, str, str]) -> Any:
    status, out, err = outcome
    assert status == 0, err
    return json.loads(out)


def test_grants(run: Run) -> None:
    assert answer(run("user", "grant", "ada@example.com", "Sales@Example.COM", "--json"))["address"] == (
        "sales@example.com"
    )
    assert run("user", "grant", "ada@example.com", "@news.example")[0] == 0
    assert run("user", "grant", "bob@example.com", "x@y.example")[0] == 0
    assert run("user", "grant", "ada@example.com", "@news.example")[0] == 1, "twice"
    assert run("user", "grant", "ada@example.com", "nothing")[0] == 1
    assert run("user", "grant", "nobody", "a@b.example")[0] == 1
    rows = answer(run("user", "grants", "ada@example.com", "--json"))
    assert [row["address"] for row in rows] == ["@news.example", "sales@example.com"]
    assert len(answer(run("user", "grants", "--json"))) == 3
    assert run("user", "revoke", "ada@example.com", "@news.example")[0] == 0
    assert run("user", "revoke", "ada@example.com", "@news.example")[0] == 1
    assert "sales@example.com" in run("user", "grants")[1]


def fill(db: Path, user_id: int, count: int) -> None:
    def work(tx: Tx) -> None:
        message = NewMessage(packed=blobs.pack(CONTENT), blob_id=None, analysis=analyse(CONTENT))
        delivery.deliver(
            tx, message, [Queued("ada@example.com", f"r{n}@elsewhere.example", user_id=user_id) for n in range(count)]
        )
        usage.add(tx, user_id, [f"r{n}@elsewhere.example" for n in range(count)])

    accounts.write(db, work)


def statuses(db: Path) -> list[tuple[int, str]]:
    def work(tx: Tx) -> list[tuple[int, str]]:
        return tx.rows("SELECT user_id, status FROM message_queue ORDER BY id")

    return accounts.read(db, work)


def test_an_account_is_held_released_and_purged(run: Run, db: Path) -> None:
    fill(db, 1, 3)
    fill(db, 2, 1)
    held = answer(run("user", "hold", "ada@example.com", "--reason", "stolen", "--json"))
    assert held == {"username": "ada@example.com", "held": 3, "delivered": 0, "in_transfer": 0}
    assert statuses(db) == [(1, "held")] * 3 + [(2, "pending")]
    shown = answer(run("user", "show", "ada@example.com", "--json"))
    assert shown["sending_held_at"] and shown["sending_held_reason"] == "stolen"
    assert "of the queue 3 entries released" in run("user", "release", "ada@example.com")[1]
    assert statuses(db) == [(1, "pending")] * 3 + [(2, "pending")]
    assert answer(run("user", "show", "ada@example.com", "--json"))["sending_held_at"] is None
    assert accounts.read(db, lambda tx: usage.totals(tx, 1)).hour_messages == 0, "it begins anew"
    run("user", "hold", "ada@example.com")
    assert answer(run("user", "purge", "ada@example.com", "--json")) == {
        "username": "ada@example.com",
        "deleted": 3,
        "delivered": 0,
        "in_transfer": 0,
    }
    assert statuses(db) == [(2, "pending")]
    assert answer(run("user", "show", "ada@example.com", "--json"))["sending_held_at"], "it stays held"
    run("user", "purge", "ada@example.com", "--release")
    assert answer(run("user", "show", "ada@example.com", "--json"))["sending_held_at"] is None
    assert run("user", "hold", "nobody")[::2] == (1, "Error: no user nobody\n")


def test_tokens(run: Run, db: Path) -> None:
    made = answer(
        run("token", "create", "ada@example.com", "--name", "phone", "--scope", "smtp,imap", "--days", "7", "--json")
    )
    assert (made["username"], made["name"], made["scope"]) == ("ada@example.com", "phone", "imap smtp")
    assert 0 < made["expires_at"] - time.time() <= 7 * 86_400
    assert accounts.read(db, lambda tx: tokens.find(tx, token_hash(made["token"]))) is not None
    status, out, _ = run("token", "create", "bob@example.com")
    assert status == 0 and out.startswith("pbx_") and out.count("\n") == 1
    listed = answer(run("token", "list", "--json"))
    assert [row["username"] for row in listed] == ["ada@example.com", "bob@example.com"]
    assert not any("token" in row or "token_hash" in row for row in listed)
    assert out.strip() not in run("token", "list", "bob@example.com")[1]
    assert answer(run("token", "revoke", str(made["id"]), "--json"))["name"] == "phone"
    assert run("token", "revoke", str(made["id"]))[::2] == (1, f"Error: no token {made['id']}\n")
    assert run("token", "create", "ada@example.com", "--scope", "ftp")[0] == 1
    assert run("token", "create", "nobody")[0] == 1
