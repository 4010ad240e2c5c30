"""`pillarbox certificate` on a real store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from client_certificates import Authority, der_of
from pillarbox.store import check_store
from pillarbox.store.client_certificates import fingerprint_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    for name in ("ada", "bob"):
        assert run("user", "add", f"{name}@example.com", stdin="correct horse\n")[0] == 0
    return run


def test_a_certificate_comes_and_goes(run: Run, tmp_path: Path) -> None:
    own = Authority(tmp_path, "Own")
    fingerprint = fingerprint_of(der_of(own.file)).upper()
    status, out, _ = run("certificate", "add", "ada@example.com", str(own.itself()), "--name", "phone")
    assert (status, out) == (0, f"Certificate 1 of ada@example.com: {fingerprint}\n")
    status, _, err = run("certificate", "add", "bob@example.com", str(own.file))
    assert status == 1 and "registered already" in err
    other = tmp_path / "other.der"
    other.write_bytes(der_of(own.issue()))
    assert run("certificate", "add", "bob@example.com", str(other))[0] == 0
    rows = json.loads(run("certificate", "list", "--json")[1])
    assert [(row["username"], row["name"]) for row in rows] == [("ada@example.com", "phone"), ("bob@example.com", "")]
    assert rows[0]["fingerprint"] == fingerprint and rows[0]["expires_at"] > 1_700_000_000
    assert "phone" in run("certificate", "list", "ada@example.com")[1]
    assert run("certificate", "remove", "1")[:2] == (0, "Certificate 1 of ada@example.com was removed\n")
    assert run("certificate", "remove", "1")[0] == 1
    assert len(json.loads(run("certificate", "list", "--json")[1])) == 1
    assert run("user", "remove", "bob@example.com")[0] == 0
    assert json.loads(run("certificate", "list", "--json")[1]) == []
    assert check_store(tmp_path / "smtp.db") == []


def test_what_no_handshake_could_be_done_with_is_refused(run: Run, tmp_path: Path) -> None:
    own = Authority(tmp_path, "Own")
    server = own.issue(usage=ExtendedKeyUsageOID.SERVER_AUTH)
    (tmp_path / "nonsense").write_bytes(b"nonsense")
    for file, reason in (
        (server, "lacks clientAuth"),
        ("nonsense", "no certificate in it"),
        ("nothing", "no such file"),
    ):
        status, _, err = run("certificate", "add", "ada@example.com", str(tmp_path / file))
        assert status == 1 and reason in err
    assert run("certificate", "add", "eve@example.com", str(own.file))[0] == 1


def test_check_finds_one_that_was_put_there_by_hand(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "smtp.db"
    assert run("certificate", "add", "ada@example.com", str(Authority(tmp_path, "Own").file))[0] == 0
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE client_certificates SET fingerprint = upper(fingerprint)")
    database.close()
    (problem,) = check_store(file)
    assert "is not the fingerprint of its certificate" in problem
