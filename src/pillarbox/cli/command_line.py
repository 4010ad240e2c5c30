"""What the administration commands share: their options, and the database they work on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pillarbox.cli import accounts
from pillarbox.config.locate import database_place
from pillarbox.store.tx import Tx

T = TypeVar("T")

Database = Annotated[
    Path | None,
    typer.Option(
        "--db", help="The database (default: SMTP_DB_PATH, /etc/smtp-server/config.env, ./smtp.db).", metavar="PATH"
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


def path_of(db: Path | None) -> Path:
    """The database meant. Raises FileError."""
    return db or database_place().path


def read(db: Path | None, fn: Callable[[Tx], T]) -> T:
    return accounts.read(path_of(db), fn)


def write(db: Path | None, fn: Callable[[Tx], T], *, create: bool = False) -> T:
    return accounts.write(path_of(db), fn, create=create)
