"""Opening the store for a command: what is there, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.cli import accounts
from pillarbox.cli.accounts import NoDatabase, NotOurs
from pillarbox.config.postgres_url import PostgresUrl


def test_who_only_looks_need_not_be_able_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "smtp.db"
    accounts.make_ready(path)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert accounts.is_there(path)
    accounts.require(path)
    for create in (False, True):
        with pytest.raises(NotOurs):
            accounts.write(path, lambda tx: None, create=create)


def test_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "smtp.db"
    assert not accounts.is_there(path)
    with pytest.raises(NoDatabase):
        accounts.require(path)
    with pytest.raises(NoDatabase):
        accounts.read(path, lambda tx: None)
    assert list(tmp_path.iterdir()) == []


def test_a_server_for_databases_says_itself_what_is_there() -> None:
    assert accounts.is_there(PostgresUrl("postgresql://nowhere.invalid/mail"))
    accounts.require(PostgresUrl("postgresql://nowhere.invalid/mail"))
