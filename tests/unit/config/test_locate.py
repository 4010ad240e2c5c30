"""The database of the machine, as the commands find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.config.locate import Place, database_place
from pillarbox.config.sources import FileError


def place(tmp_path: Path, environ: dict[str, str] | None = None) -> Place:
    return database_place(environ or {}, config_env=str(tmp_path / "env"), config_toml=str(tmp_path / "toml"))


def test_the_order_of_sources(tmp_path: Path) -> None:
    assert place(tmp_path) == (Path("smtp.db"), "default")
    (tmp_path / "toml").write_text('[database]\npath = "/from/toml"\n')
    assert place(tmp_path) == (Path("/from/toml"), str(tmp_path / "toml"))
    (tmp_path / "env").write_text("SMTP_PORT=1\n")
    assert place(tmp_path).path == Path("/from/toml")
    (tmp_path / "env").write_text("SMTP_DB_PATH='/from/env file'\n")
    assert place(tmp_path) == (Path("/from/env file"), str(tmp_path / "env"))
    assert place(tmp_path, {"SMTP_DB_PATH": "/from/environment"}) == (Path("/from/environment"), "environment")


def test_a_toml_file_that_config_env_names(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[database]\ndb_path = "/other"\n')
    (tmp_path / "env").write_text(f"SMTP_CONFIG_FILE={other}\n")
    assert place(tmp_path).path == Path("/other")


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    with pytest.raises(FileError, match="cannot be read"):
        place(tmp_path)
    assert place(tmp_path, {"SMTP_DB_PATH": "/x"}).path == Path("/x")
