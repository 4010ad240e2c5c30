"""`pillarbox import`: mail of other programs and servers becomes mail of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pillarbox.cli import accounts
from pillarbox.cli.administer_users import Username, find
from pillarbox.cli.command_line import AsJson, Database, Refused, group
from pillarbox.cli.flags import EXIT_FAILED, complain
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.cli.transfer_progress import progress
from pillarbox.store import mailboxes
from pillarbox.store.errors import Invalid
from pillarbox.store.store import Store
from pillarbox.transfer import eml_reader, maildir_reader, mbox_reader, takeout_reader
from pillarbox.transfer.folder_names import below, fitting
from pillarbox.transfer.found import Found, NoSource
from pillarbox.transfer.intake import Intake, Report

app = group("Take mail in: what was taken in once never comes twice, and a broken run goes on when it is begun again.")

Place = Annotated[Path, typer.Argument(help="The file or folder.", metavar="PATH")]
Into = Annotated[str, typer.Option("--into", help="The mailbox below which all of it comes.", metavar="MAILBOX")]
MOST_SHOWN = 20


@app.command()
def maildir(username: Username, path: Place, into: Into = "", db: Database = None, as_json: AsJson = False) -> None:
    """A Maildir with its folders (Dovecot, Courier); flags, keywords, dates, subscriptions, and UIDs of Dovecot."""
    names = maildir_reader.subscriptions(path)
    _take_in(username, path, maildir_reader.read, maildir_reader.size, into, db, as_json, names)


@app.command()
def mbox(username: Username, path: Place, into: Into = "", db: Database = None, as_json: AsJson = False) -> None:
    """An mbox file, or a tree of them with a mailbox for each; with the marks of mutt, Dovecot and Thunderbird."""
    _take_in(username, path, mbox_reader.read, mbox_reader.size, into, db, as_json)


@app.command()
def eml(username: Username, path: Place, into: Into = "", db: Database = None, as_json: AsJson = False) -> None:
    """An .eml file, or a tree of them whose folders become mailboxes."""
    _take_in(username, path, eml_reader.read, eml_reader.size, into, db, as_json)


@app.command()
def takeout(username: Username, path: Place, into: Into = "", db: Database = None, as_json: AsJson = False) -> None:
    """Google Takeout of Gmail: the .zip, .tgz or .mbox, or the folder it was unpacked to; labels become mailboxes."""
    _take_in(username, path, takeout_reader.read, takeout_reader.size, into, db, as_json)


def _take_in(
    username: str,
    path: Path,
    read: Callable[[Path], Iterator[Found]],
    size: Callable[[Path], int],
    into: str,
    db: str | None,
    as_json: bool,
    subscribed: list[str] | None = None,
) -> None:
    try:
        total = size(path)
        with progress(total) as show:

            async def work(store: Store) -> Report:
                user = await store.scan(find, username)
                intake = Intake(store, user.id, into=fitting(into) if into else "", progress=show)
                report = await intake.run(read(path))
                for name in subscribed or ():
                    try:
                        await store.write(mailboxes.subscribe, user.id, below(into, fitting(name)))
                    except Invalid as error:
                        report.problems.append(f"not subscribed to {name}: {error}")
                return report

            report = accounts.on_store(store_of(db), work, create=False)
    except (NoSource, OSError) as error:
        raise Refused(str(error)) from error
    tell(report, as_json=as_json)


def tell(report: Report, *, as_json: bool) -> None:
    """The counts; exit 1 when something could not be taken in."""
    rows: list[dict[str, Any]] = [
        {
            "mailbox": count.mailbox,
            "found": count.found,
            "stored": count.stored,
            "known": count.known,
            "octets": count.octets,
            "uids_kept": count.uids_kept,
        }
        for count in report.folders.values()
    ]
    for origin, reason in report.unreadable[:MOST_SHOWN]:
        complain(f"Not taken in: {origin}: {reason}")
    if len(report.unreadable) > MOST_SHOWN:
        complain(f"... and {len(report.unreadable) - MOST_SHOWN} more")
    for problem in report.problems:
        complain(f"Warning: {problem}")
    changes = {"flags_changed": report.flags_changed, "removed": report.removed}
    totals = {key: sum(row[key] for row in rows) for key in ("found", "stored", "known", "octets")}
    if as_json:
        row = {
            "folders": rows,
            **totals,
            **changes,
            "not_taken_in": len(report.unreadable),
            "problems": report.problems,
        }
        print_done("", row, as_json=True)
    else:
        print_rows(rows, ["mailbox", "found", "stored", "known", "octets", "uids_kept"], as_json=False)
        print(
            f"{totals['found']} messages found: {totals['stored']} stored ({totals['octets']} octets), "
            f"{totals['known']} taken in before, {len(report.unreadable)} not taken in"
        )
        if any(changes.values()):
            print(f"Of those, {report.flags_changed} have new flags; {report.removed} were removed")
    if report.unreadable:
        raise typer.Exit(EXIT_FAILED)
