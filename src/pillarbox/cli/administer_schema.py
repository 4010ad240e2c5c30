"""`pillarbox migrate`: the schema of the database, step by step."""

from __future__ import annotations

from typing import Annotated

import typer

from pillarbox.cli import accounts
from pillarbox.cli.command_line import AsJson, Database, Refused, group
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_rows
from pillarbox.store.migration import CURRENT
from pillarbox.store.migrations import ALL
from pillarbox.store.opening import rollback, schema_version

app = group("The schema of the database. The server brings it up to date by itself when it starts.")


@app.command()
def up(db: Database = None) -> None:
    """Apply what is missing; makes the database when there is none."""
    applied = accounts.make_ready(store_of(db))
    for step in applied:
        print(f"applied {step.version} {step.name}")
    if not applied:
        print("nothing to apply")


@app.command()
def down(db: Database = None) -> None:
    """Take the last step back. Not while the server runs; what only that step knows is lost."""
    _roll_back(db, max(0, _version(db) - 1))


@app.command()
def to(version: Annotated[int, typer.Argument(min=0, max=CURRENT)], db: Database = None) -> None:
    """Go down to a version, or up to the newest. Down not while the server runs."""
    current = _version(db) if accounts.is_there(store_of(db)) else 0
    if version < current:
        _roll_back(db, version)
    elif version == CURRENT:
        up(db)
    elif version > current:
        raise Refused(f"the way up leads to {CURRENT} only: `pillarbox migrate up`")


@app.command()
def status(db: Database = None, as_json: AsJson = False) -> None:
    """Which steps were applied and which are pending."""
    version = _version(db) if accounts.is_there(store_of(db)) else 0
    rows = [
        {"version": step.version, "name": step.name, "state": "applied" if step.version <= version else "pending"}
        for step in ALL
    ]
    print_rows(rows, ["version", "name", "state"], as_json=as_json)


def _version(db: Database) -> int:
    """The newest step in the database, without applying any. Raises NoDatabase, StoreError."""
    name = store_of(db)
    accounts.require(name)
    return schema_version(name)


def _roll_back(db: Database, version: int) -> None:
    for step in rollback(store_of(db), version):
        print(f"took back {step.version} {step.name}")
