"""Where `sendmail` finds the server of this machine: it must answer at once, and most users may read no settings.

The same sources as the server's, in the same order, for the few settings that matter here. Who may not read them finds
the places that an installation by the book has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pillarbox.config.sources import CONFIG_ENV, CONFIG_TOML, FileError, Given, read_environment_file, read_toml

SOCKET, FOLDER = "sendmail.sock", "maildrop"  # in SMTP_RUNTIME_DIR
USUAL = "/var/lib/smtp-server"  # where the database is when nobody may say so
_TOML = {
    "listeners.sendmail_socket": "SMTP_SENDMAIL_SOCKET",
    "queue.pickup_dir": "SMTP_PICKUP_DIR",
    "server.runtime_dir": "SMTP_RUNTIME_DIR",
    "database.path": "SMTP_DB_PATH",
    "database.db_path": "SMTP_DB_PATH",
    "server.hostname": "SMTP_HOSTNAME",
}
_NAMES = frozenset(_TOML.values())


class LocalServer(NamedTuple):
    """`hostname` is "" when nothing says it."""

    socket: str
    folder: str
    hostname: str


def local_server(
    environ: Mapping[str, str] | None = None, *, config_env: str = CONFIG_ENV, config_toml: str = CONFIG_TOML
) -> LocalServer:
    """The socket, the spool folder and the name of the server. Never raises: what cannot be read says nothing."""
    environ = os.environ if environ is None else environ
    in_env = _values(read_environment_file, config_env)
    toml = environ.get("SMTP_CONFIG_FILE") or in_env.get("SMTP_CONFIG_FILE") or config_toml
    in_toml = {_TOML[name]: value for name, value in _values(read_toml, toml).items() if name in _TOML}
    own = {name: value for name, value in environ.items() if name in _NAMES and value}
    found = {**in_toml, **in_env, **own}
    database = found.get("SMTP_DB_PATH", "")
    runtime = found.get("SMTP_RUNTIME_DIR") or (os.path.dirname(database) or "." if database else USUAL)
    return LocalServer(
        found.get("SMTP_SENDMAIL_SOCKET") or os.path.join(runtime, SOCKET),
        found.get("SMTP_PICKUP_DIR") or os.path.join(runtime, FOLDER),
        found.get("SMTP_HOSTNAME", ""),
    )


def _values(read: Callable[[str], list[Given]], path: str) -> dict[str, str]:
    try:
        return {given.name: str(given.raw) for given in read(path)}
    except (FileNotFoundError, FileError):
        return {}
