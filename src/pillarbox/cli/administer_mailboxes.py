"""`pillarbox mailbox`: the mailboxes of one account."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.cli.administer_users import Username, find
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.tables import print_done, print_one, print_rows
from pillarbox.store import mailbox_lookup, mailboxes
from pillarbox.store.records import Mailbox
from pillarbox.store.tx import Tx

app = group("Mailboxes of an account.")

Name = Annotated[str, typer.Argument(help="The mailbox; levels are separated by /.")]


def _row(mailbox: Mailbox) -> dict[str, Any]:
    return {
        "id": mailbox.id,
        "name": mailbox.name,
        "messages": mailbox.message_count,
        "unseen": mailbox.unseen_count,
        "size": mailbox.total_size,
        "special_use": mailbox.special_use,
        "subscribed": mailbox.subscribed,
        "uidvalidity": mailbox.uidvalidity,
        "uidnext": mailbox.uidnext,
        "highestmodseq": mailbox.highestmodseq,
        "created_at": mailbox.created_at,
    }


def _find(tx: Tx, username: str, name: str) -> Mailbox:
    found = mailbox_lookup.find(tx, find(tx, username).id, name)
    if found is None:
        raise Refused(f"{username} has no mailbox {name}")
    return found


@app.command("list")
def list_mailboxes(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """All mailboxes of an account."""
    rows = [_row(box) for box in read(db, lambda tx: mailbox_lookup.list_mailboxes(tx, find(tx, username).id))]
    print_rows(rows, ["id", "name", "messages", "unseen", "size", "special_use", "subscribed"], as_json=as_json)


@app.command()
def show(username: Username, name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """Everything about one mailbox."""
    print_one(_row(read(db, lambda tx: _find(tx, username, name))), as_json=as_json)


@app.command()
def add(username: Username, name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """Make a mailbox, those above it too, and subscribe to it."""

    def work(tx: Tx) -> Mailbox:
        user = find(tx, username)
        made = mailboxes.create(tx, user.id, name)
        mailboxes.subscribe(tx, user.id, made.name)
        return mailbox_lookup.get(tx, made.id)

    made = write(db, work)
    print_done(f"Mailbox {made.name} was made", _row(made), as_json=as_json)


@app.command()
def rename(username: Username, name: Name, to: str, db: Database = None, as_json: AsJson = False) -> None:
    """Rename a mailbox and all below it."""
    box = write(db, lambda tx: mailboxes.rename(tx, find(tx, username).id, name, to))
    print_done(f"Mailbox {name} is {box.name} now", _row(box), as_json=as_json)


@app.command()
def remove(username: Username, name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """Remove a mailbox with its messages; those below it stay."""

    def work(tx: Tx) -> Mailbox:
        found = _find(tx, username, name)
        mailboxes.delete(tx, found.user_id, found.name)
        return found

    gone = write(db, work)
    print_done(f"Mailbox {gone.name} was removed", _row(gone), as_json=as_json)
