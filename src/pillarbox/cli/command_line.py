"""What the administration commands share: their options, and the database they work on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pillarbox.cli import accounts
from pillarbox.cli.store_option import store_of
from pillarbox.config.postgres_url import PostgresUrl
from pillarbox.store.tx import Tx

T = TypeVar("T")

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="The database (default: SMTP_DATABASE_URL or SMTP_DB_PATH, /etc/smtp-server/config.env, ./smtp.db).",
        metavar="PATH|URL",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


class Refused(Exception):
    """The command cannot be carried out: exit 1. The text is for the user."""


def group(help: str) -> typer.Typer:
    return typer.Typer(
        help=help, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
    )


def file_of(db: str | None, instead: str) -> Path:
    """The database file meant. Raises FileError, NoDatabase, and Refused for PostgreSQL, which has `instead`."""
    name = store_of(db)
    if isinstance(name, PostgresUrl):
        raise Refused(f"the database is on PostgreSQL, which has `{instead}` for this")
    accounts.require(name)
    return name


def read(db: str | None, fn: Callable[[Tx], T]) -> T:
    return accounts.read(store_of(db), fn)


def write(db: str | None, fn: Callable[[Tx], T], *, create: bool = False) -> T:
    return accounts.write(store_of(db), fn, create=create)
