"""`pillarbox ban` on a real store."""

import json

import pytest

from pillarbox.cli import pillarbox


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "smtp.db"))
    assert pillarbox.main(["domain", "add", "example.com"]) == 0
    capsys.readouterr()

    def call(*argv):
        return (pillarbox.main(argv), *capsys.readouterr())

    return call


def test_add_list_remove(run):
    assert run("ban", "list", "--json")[:2] == (0, "[]\n")
    assert run("ban", "add", "2001:db8::5", "--seconds", "600", "--reason", "spam")[0] == 0
    (row,) = json.loads(run("ban", "list", "--json")[1])
    assert (row["network"], row["reason"], row["expires_at"] - row["created_at"]) == ("2001:db8::/64", "spam", 600)
    assert run("ban", "remove", "2001:db8::/64")[0] == 0
    status, _, error = run("ban", "remove", "192.0.2.1")
    assert status == 1
    assert "192.0.2.1 is not banned" in error
    assert run("ban", "add", "example.com")[0] == 1
