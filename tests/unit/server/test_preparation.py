"""What the server looks at before it makes anything: folders that are there and may be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pillarbox.config import Settings
from pillarbox.server import application
from pillarbox.server.application import prepare
from pillarbox.server.preparation import DATABASE, RUNTIME, StartError, check_folders, check_writable
from pillarbox.store import StoreError


def test_folders_that_are_there_are_good(tmp_path: Path) -> None:
    settings = Settings.of(db_path=tmp_path / "smtp.db")
    check_folders(settings)
    check_writable(settings, DATABASE, RUNTIME)
    assert settings.runtime_dir == tmp_path


@pytest.mark.parametrize("name", ["SMTP_DB_PATH", "SMTP_RUNTIME_DIR"])
def test_a_missing_folder_is_named_with_its_setting_and_a_fix(tmp_path: Path, name: str) -> None:
    lost = tmp_path / "lost"
    places = {"db_path": tmp_path / "smtp.db", "runtime_dir": tmp_path}
    places |= {"db_path": lost / "smtp.db"} if name == "SMTP_DB_PATH" else {"runtime_dir": lost}
    with pytest.raises(StartError, match=rf"{name} \(code\): there is no folder {lost}\. Fix: .*make the folder"):
        check_folders(Settings.of(**places))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match="there is no folder"):
        check_folders(Settings.of(db_path=tmp_path / "file" / "smtp.db"))


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path == tmp_path)  # root may write everywhere
    settings = Settings.of(db_path=tmp_path / "smtp.db", runtime_dir=tmp_path / "run")
    with pytest.raises(StartError, match=r"SMTP_RUNTIME_DIR \(code\): .* cannot be written\. Fix: `chown`"):
        check_writable(settings, DATABASE, RUNTIME)
    with pytest.raises(StartError, match=r"SMTP_DB_PATH \(code\): .* cannot be written\. Fix: `chown`"):
        check_writable(settings.replace(db_path=tmp_path / "data" / "smtp.db"), DATABASE)


def test_a_database_that_is_not_there_is_named_by_its_setting_and_not_by_its_password(tmp_path: Path) -> None:
    url = f"postgresql://ada:secret@/db?host={tmp_path}"
    settings = Settings.of(database_url=url, runtime_dir=tmp_path)
    with pytest.raises(StartError, match=r"SMTP_DATABASE_URL \(code\): .*No such file.*Fix: start the da") as refused:
        prepare(settings)
    assert "secret" not in str(refused.value)


def test_of_a_database_that_is_there_but_not_usable_only_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_new(_: object) -> None:
        raise StoreError("the schema is too new. Start the newer program again")

    monkeypatch.setattr(application, "migrate", too_new)
    with pytest.raises(StartError, match=r"SMTP_DATABASE_URL \(code\): .*: the schema is too new\. Start .* again$"):
        prepare(Settings.of(database_url="postgresql:///db", runtime_dir=tmp_path))
