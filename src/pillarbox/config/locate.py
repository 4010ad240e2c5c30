"""Where the database is, for commands that need nothing else of the settings and must answer at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pillarbox.config.sources import CONFIG_ENV, CONFIG_TOML, read_environment_file, read_toml

NAME, RUNTIME, CONFIG_NAME = "SMTP_DB_PATH", "SMTP_RUNTIME_DIR", "SMTP_CONFIG_FILE"
DEFAULT = "smtp.db"  # in the current folder


class Place(NamedTuple):
    path: Path
    source: str  # "environment", a file, or "default"


def database_place(
    environ: Mapping[str, str] | None = None,
    *,
    config_env: str = CONFIG_ENV,
    config_toml: str = CONFIG_TOML,
) -> Place:
    """The database that the server of this machine uses, by the same order of sources.

    `sudo` drops SMTP_DB_PATH, so the files count even for commands typed by hand. Raises FileError when one of them is
    there and cannot be read.
    """
    keys = ("database.path", "database.db_path")
    return _look_up(NAME, keys, environ, config_env, config_toml) or Place(Path(DEFAULT), "default")


def runtime_folder(
    environ: Mapping[str, str] | None = None,
    *,
    config_env: str = CONFIG_ENV,
    config_toml: str = CONFIG_TOML,
) -> Path:
    """The folder in which the server of this machine keeps what is not mail. Raises FileError."""
    found = _look_up(RUNTIME, ("server.runtime_dir",), environ, config_env, config_toml)
    if found is not None:
        return found.path
    return database_place(environ, config_env=config_env, config_toml=config_toml).path.parent


def _look_up(
    name: str, keys: Sequence[str], environ: Mapping[str, str] | None, config_env: str, config_toml: str
) -> Place | None:
    """The path that the first of the sources gives; `keys` are its names in TOML."""
    environ = os.environ if environ is None else environ
    if path := environ.get(name):
        return Place(Path(path), "environment")
    try:
        in_file = {given.name: str(given.raw) for given in read_environment_file(config_env)}
    except FileNotFoundError:
        in_file = {}
    if path := in_file.get(name):
        return Place(Path(path), config_env)
    toml = environ.get(CONFIG_NAME) or in_file.get(CONFIG_NAME) or config_toml
    try:
        in_toml = {given.name: str(given.raw) for given in read_toml(toml)}
    except FileNotFoundError:
        in_toml = {}
    path = next((in_toml[key] for key in keys if in_toml.get(key)), "")
    return Place(Path(path), toml) if path else None
