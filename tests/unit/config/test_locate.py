"""The database of the machine, as the commands find it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from pillarbox.config.locate import Place, Sources, runtime_folder, store_place
from pillarbox.config.postgres_url import PostgresUrl
from pillarbox.config.settings import load
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


def test_an_empty_url_is_none_whatever_other_sources_say(tmp_path: Path) -> None:
    """As the server has it: whoever sets it to nothing is on the file."""
    (tmp_path / "env").write_text("SMTP_DATABASE_URL=postgresql:///mail\nSMTP_RUNTIME_DIR=/run/mail\n")
    (tmp_path / "toml").write_text('[database]\nurl = "postgresql:///other"\npath = "/from/toml"\n')
    nothing = {"SMTP_DATABASE_URL": " ", "SMTP_RUNTIME_DIR": ""}
    assert place(tmp_path, nothing) == (Path("/from/toml"), str(tmp_path / "toml"))
    assert runtime_folder(sources(tmp_path, nothing)) == Path("/from")
    (tmp_path / "env").write_text("SMTP_DATABASE_URL=\n")
    assert place(tmp_path).store == Path("/from/toml")


def test_blanks_around_and_the_case_of_the_scheme_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("SMTP_DATABASE_URL=' POSTGRESQL://db/mail '\n")
    assert place(tmp_path).store == PostgresUrl("postgresql://db/mail")
    assert place(tmp_path, {"SMTP_DB_PATH": " /x "}).store == Path("/x")


def test_another_url_is_refused_and_its_password_not_shown(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"environment: SMTP_DATABASE_URL is not .* begin it with postgresql://") as no:
        place(tmp_path, {"SMTP_DATABASE_URL": "mysql://ada:secret@db/mail"})
    assert "secret" not in str(no.value)


@pytest.mark.parametrize("where", ["environ", "env", "toml"])
def test_commands_and_server_have_the_same_store(tmp_path: Path, where: str) -> None:
    """One source says all it can; the two behind it say the same of all others."""
    values = (None, "", " ", "postgresql://h/a", " Postgres://h/a ")
    for url, path, far_url, far_path in product(
        values, (None, "/a", " /a "), (None, "", "postgresql://h/b"), (None, "/b")
    ):
        given = {"environ": (None, None), "env": (None, None), "toml": (None, None)}
        given |= dict.fromkeys(list(given)[list(given).index(where) + 1 :], (far_url, far_path))
        given[where] = (url, path)
        for name, keys in (("env", ("SMTP_DATABASE_URL", "SMTP_DB_PATH")), ("toml", ("url", "path"))):
            lines = [f'{key}="{said}"\n' for key, said in zip(keys, given[name], strict=True) if said is not None]
            (tmp_path / name).write_text("".join(["[database]\n"] * (name == "toml") + lines))
        keys = ("SMTP_DATABASE_URL", "SMTP_DB_PATH")
        environ = {key: said for key, said in zip(keys, given["environ"], strict=True) if said is not None}
        server = load({}, environ, config_env=str(tmp_path / "env"), config_toml=str(tmp_path / "toml"))
        assert place(tmp_path, environ).store == server.settings.store, given


def test_the_folder_without_a_setting_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("SMTP_DATABASE_URL=postgresql:///mail\nSMTP_DB_PATH=/var/lib/mail/smtp.db\n")
    assert runtime_folder(sources(tmp_path)) == Path("/var/lib/mail")
