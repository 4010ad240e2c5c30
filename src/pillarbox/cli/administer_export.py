"""`pillarbox export`: an account's mail in files of other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pillarbox.cli import accounts
from pillarbox.cli.administer_users import Username, find
from pillarbox.cli.command_line import AsJson, Database, Refused, group
from pillarbox.cli.flags import complain
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.cli.transfer_progress import progress
from pillarbox.store import mailboxes
from pillarbox.store.store import Store
from pillarbox.transfer.export import ExportCount, Writer, export
from pillarbox.transfer.maildir_writer import MaildirWriter
from pillarbox.transfer.mbox_writer import MboxWriter

app = group("Write mail into files. A second run into the same folder adds what is new and doubles nothing.")

Place = Annotated[Path, typer.Argument(help="The folder, made when missing.", metavar="FOLDER")]
Only = Annotated[
    list[str] | None, typer.Option("--mailbox", help="Only this mailbox; may be given again.", metavar="MAILBOX")
]


@app.command()
def maildir(username: Username, path: Place, only: Only = None, db: Database = None, as_json: AsJson = False) -> None:
    """A Maildir++ as Dovecot has it: with flags, keywords, dates, UIDs and subscriptions."""
    _write(username, path, MaildirWriter, only, db, as_json)


@app.command()
def mbox(username: Username, path: Place, only: Only = None, db: Database = None, as_json: AsJson = False) -> None:
    """An mbox file for each mailbox, with flags, keywords, dates and UIDs in the fields that programs use for them."""
    _write(username, path, MboxWriter, only, db, as_json)


def _write(
    username: str, path: Path, kind: Callable[[Path], Writer], only: list[str] | None, db: str | None, as_json: bool
) -> None:
    async def work(store: Store) -> list[ExportCount]:
        user = await store.scan(find, username)
        boxes = await store.scan(mailboxes.list_mailboxes, user.id)
        with progress(sum(box.total_size for box in boxes if not only or box.name in only)) as show:
            return await export(store, user.id, writer, only or (), show)

    writer = kind(path)
    try:
        counts = accounts.on_store(store_of(db), work, create=False)
    except OSError as error:
        raise Refused(str(error)) from error
    for warning in writer.warnings:
        complain(f"Warning: {warning}")
    rows: list[dict[str, Any]] = [msgspec.structs.asdict(count) for count in counts]
    totals = {key: sum(row[key] for row in rows) for key in ("messages", "written", "known", "left_over", "octets")}
    if as_json:
        print_done("", {"folders": rows, **totals, "warnings": writer.warnings}, as_json=True)
        return
    print_rows(rows, ["mailbox", "messages", "written", "known", "octets"], as_json=False)
    print(
        f"{totals['messages']} messages: {totals['written']} written ({totals['octets']} octets), "
        f"{totals['known']} were there"
    )
    if totals["left_over"]:
        print(f"{totals['left_over']} files of messages that are gone here were left in place")
