"""Where the store is, for commands that need nothing else of the settings and must answer at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pillarbox.config.postgres_url import SCHEMES, PostgresUrl, StoreName, is_url
from pillarbox.config.sources import CONFIG_ENV, CONFIG_TOML, FileError, read_environment_file, read_toml

FILE, URL, RUNTIME, CONFIG = "SMTP_DB_PATH", "SMTP_DATABASE_URL", "SMTP_RUNTIME_DIR", "SMTP_CONFIG_FILE"
DEFAULT = "smtp.db"  # in the current folder
_IN_TOML = {
    "database.path": FILE,
    "database.db_path": FILE,
    "database.url": URL,
    "server.runtime_dir": RUNTIME,
}


class Place(NamedTuple):
    store: StoreName
    source: str  # "environment", a file, or "default"


class Sources:
    """What the environment and the files say, by SMTP_ name. Files are read when they are asked."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        config_env: str = CONFIG_ENV,
        config_toml: str = CONFIG_TOML,
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self._config_env = config_env
        self._config_toml = config_toml

    def files(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """`sudo` drops the environment, so they count even for commands typed by hand. Raises FileError when one of
        them is there and cannot be read."""
        in_file: dict[str, str] = {}
        try:
            in_file = {given.name: str(given.raw) for given in read_environment_file(self._config_env)}
        except FileNotFoundError:
            pass
        else:
            yield self._config_env, in_file
        toml = self.environ.get(CONFIG) or in_file.get(CONFIG) or self._config_toml
        try:
            given = {given.name: str(given.raw) for given in read_toml(toml)}
        except FileNotFoundError:
            return
        yield toml, {_IN_TOML[key]: value for key, value in reversed(given.items()) if key in _IN_TOML}

    def file(self) -> tuple[Path, str]:
        """The SQLite file, whether it is the store or not, and who names it."""
        if path := self.environ.get(FILE, "").strip():
            return Path(path), "environment"
        found = ((given.get(FILE, "").strip(), source) for source, given in self.files())
        return next(((Path(path), source) for path, source in found if path), (Path(DEFAULT), "default"))

    def nearest(self, name: str) -> tuple[str, str] | None:
        """What the nearest source says that names it; an empty text there is none, whatever the others say."""
        if name in self.environ:
            found = self.environ[name], "environment"
        else:
            found = next(((given[name], source) for source, given in self.files() if name in given), ("", ""))
        return (found[0].strip(), found[1]) if found[0].strip() else None


def store_place(sources: Sources | None = None) -> Place:
    """The store that the server of this machine uses. Raises FileError.

    As the server has it: what the environment names goes before what a file names, and where both name a URL and a
    path the URL counts.
    """
    sources = sources or Sources()
    if not sources.environ.get(URL, "").strip() and sources.environ.get(FILE, "").strip():
        return Place(*sources.file())
    if found := sources.nearest(URL):
        url, source = found
        if not is_url(url):
            raise FileError(source, None, f"{URL} is not what it should be", f"begin it with {SCHEMES[0]}")
        return Place(PostgresUrl(url), source)
    return Place(*sources.file())


def runtime_folder(sources: Sources | None = None) -> Path:
    """The folder in which the server of this machine keeps what is not mail. Raises FileError."""
    sources = sources or Sources()
    found = sources.nearest(RUNTIME)
    return sources.file()[0].parent if found is None else Path(found[0])
