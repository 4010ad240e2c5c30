"""The database of the machine, as the commands find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.config.locate import Place, Sources, runtime_folder, store_place
from pillarbox.config.postgres_url import PostgresUrl
from pillarbox.config.sources import FileError


def sources(tmp_path: Path, environ: dict[str, str] | None = None) -> Sources:
    return Sources(environ or {}, config_env=str(tmp_path / "env"), config_toml=str(tmp_path / "toml"))


def place(tmp_path: Path, environ: dict[str, str] | None = None) -> Place:
    return store_place(sources(tmp_path, environ))


def test_the_order_of_sources(tmp_path: Path) -> None:
    assert place(tmp_path) == (Path("smtp.db"), "default")
    (tmp_path / "toml").write_text('[database]\npath = "/from/toml"\n')
    assert place(tmp_path) == (Path("/from/toml"), str(tmp_path / "toml"))
    (tmp_path / "env").write_text("SMTP_PORT=1\n")
    assert place(tmp_path).store == Path("/from/toml")
    (tmp_path / "env").write_text("SMTP_DB_PATH='/from/env file'\n")
    assert place(tmp_path) == (Path("/from/env file"), str(tmp_path / "env"))
    assert place(tmp_path, {"SMTP_DB_PATH": "/from/environment"}) == (Path("/from/environment"), "environment")


def test_a_toml_file_that_config_env_names(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[database]\ndb_path = "/other"\n')
    (tmp_path / "env").write_text(f"SMTP_CONFIG_FILE={other}\n")
    assert place(tmp_path).store == Path("/other")


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    with pytest.raises(FileError, match="cannot be read"):
        place(tmp_path)
    assert place(tmp_path, {"SMTP_DB_PATH": "/x"}).store == Path("/x")


def test_a_url_goes_before_a_path_of_the_same_source(tmp_path: Path) -> None:
    mail = PostgresUrl("postgresql://db/mail")
    (tmp_path / "env").write_text("SMTP_DB_PATH=/from/env\n")
    (tmp_path / "toml").write_text('[database]\nurl = "postgresql://db/mail"\n[server]\nruntime_dir = "/run/mail"\n')
    assert place(tmp_path) == (mail, str(tmp_path / "toml"))
    assert place(tmp_path, {"SMTP_DB_PATH": "/x"}) == (Path("/x"), "environment")
    both = {"SMTP_DB_PATH": "/x", "SMTP_DATABASE_URL": "postgres:///other"}
    assert place(tmp_path, both) == (PostgresUrl("postgres:///other"), "environment")
    assert runtime_folder(sources(tmp_path)) == Path("/run/mail")


def test_the_folder_without_a_setting_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("SMTP_DATABASE_URL=postgresql:///mail\nSMTP_DB_PATH=/var/lib/mail/smtp.db\n")
    assert runtime_folder(sources(tmp_path)) == Path("/var/lib/mail")
