"""`pillarbox copy`: the whole store into another database, from SQLite to PostgreSQL or back."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from pillarbox.cli import accounts
from pillarbox.cli.command_line import AsJson
from pillarbox.cli.flags import UsageError, complain
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.cli.transfer_progress import progress

_SHOWN = {"users": "accounts", "mailboxes": "mailboxes", "messages": "messages", "message_queue": "queued"}


def register(app: typer.Typer) -> None:
    """Add it to the commands of `pillarbox`."""
    app.command("copy")(copy)


def copy(
    source: Annotated[
        str | None, typer.Option("--from", help="The store (default: that of the settings).", metavar="PATH|URL")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--to", help="A new file, or an empty database (default: that of the settings).", metavar="PATH|URL"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole store into another database: from SQLite to PostgreSQL, or back. Stop the server first.

    Accounts, mail, the queue and all else keep their numbers, so mail clients notice nothing. It is all there at the
    end, or nothing is; the store itself is left as it is.
    """
    read, written = store_of(source), store_of(target)
    if read == written:
        raise UsageError("Usage: pillarbox copy --to PATH|URL (or --from): the other one is the store of the settings")
    began = time.monotonic()
    copied = accounts.copy(read, written, progress)
    seconds = round(time.monotonic() - began, 3)
    for name in copied.left_out:
        complain(f"Warning: the table {name} is not Pillarbox's and was not copied")
    if as_json:
        facts = {"from": str(read), "to": str(written), "rows": copied.rows, "left_out": copied.left_out}
        print_done("", {**facts, "seconds": seconds}, as_json=True)
        return
    rows = [{"table": name, "rows": number} for name, number in copied.rows.items() if number]
    print_rows(rows, ["table", "rows"], as_json=False)
    counts = ", ".join(f"{copied.rows[table]} {word}" for table, word in _SHOWN.items())
    print(f"Copied {read} to {written}: {counts}; every table has as many rows there, {seconds:.1f} s")
