"""`pillarbox undelete`: expunged messages and deleted mailboxes come back, and what there was at a moment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.cli.administer_users import Username, find
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.flags import UsageError, complain
from pillarbox.cli.moments import moment
from pillarbox.cli.tables import print_done, print_rows, shown
from pillarbox.store import mailbox_lookup, mailboxes, past, undelete
from pillarbox.store.mailbox_names import DELIMITER, normalised
from pillarbox.store.past import Named
from pillarbox.store.records import DeletedMailbox, Gone, Mailbox
from pillarbox.store.tx import Tx

app = group("Bring back expunged messages and deleted mailboxes, for SMTP_UNDELETE_DAYS.")

Into = Annotated[str, typer.Option("--into", help="Put them into this mailbox, made when missing.", metavar="MAILBOX")]
Since = Annotated[str, typer.Option(help="What was expunged since: 2h, 3d, or a date.", metavar="WHEN")]
At = Annotated[str, typer.Option(help="The mailbox as it was then: 2h, 3d, or a date and time.", metavar="WHEN")]


def _gone_row(one: Gone) -> dict[str, Any]:
    return {
        "id": one.id,
        "mailbox": one.mailbox,
        "uid": one.uid,
        "expunged_at": one.expunged_at,
        "received_at": one.internal_date,
        "size": one.size,
        "subject": one.subject,
        "message_id": one.message_id,
        "moved": one.moved,
    }


def _deleted_row(box: DeletedMailbox) -> dict[str, Any]:
    return {
        "id": box.id,
        "mailbox": box.name,
        "deleted_at": box.deleted_at,
        "messages": box.message_count,
        "size": box.total_size,
    }


@app.command("list")
def list_messages(
    username: Username,
    mailbox: Annotated[str, typer.Argument(help="Only of this mailbox.")] = "",
    since: Since = "",
    moved: Annotated[bool, typer.Option("--moved", help="Also what was moved to another mailbox.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Expunged messages that can come back, the latest first."""
    after = moment(since)
    rows = [
        _gone_row(one)
        for one in read(db, lambda tx: undelete.gone(tx, find(tx, username).id, mailbox, after, moved=moved))
    ]
    columns = ["id", "mailbox", "expunged_at", "received_at", "size", "subject"]
    print_rows(rows, [*columns, "moved"] if moved else columns, as_json=as_json)


@app.command("mailboxes")
def list_mailboxes(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """Deleted mailboxes that can come back, the latest first."""
    found = read(db, lambda tx: undelete.deleted_mailboxes(tx, find(tx, username).id))
    columns = ["id", "mailbox", "deleted_at", "messages", "size"]
    print_rows([_deleted_row(box) for box in found], columns, as_json=as_json)


@app.command("message")
def restore_messages(
    username: Username,
    ids: Annotated[list[int], typer.Argument(help="Ids that `undelete list` shows.", metavar="ID...")],
    into: Into = "",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Bring back messages to where they were."""

    def work(tx: Tx) -> list[int]:
        user = find(tx, username)
        if into:
            _target(tx, user.id, into)
        back = undelete.restore(tx, user.id, ids, into)
        if missing := sorted(set(ids) - set(back)):
            raise Refused(f"{username} has no expunged message {missing[0]} that could come back; nothing was done")
        return back

    back = write(db, work)
    print_done(f"{_messages(len(back))} came back", {"messages": back}, as_json=as_json)


@app.command("mailbox")
def restore_mailbox(
    username: Username,
    mailbox: Annotated[str, typer.Argument(help="The mailbox.")],
    since: Since = "",
    at: At = "",
    into: Annotated[
        str,
        typer.Option(
            "--into", help="A new mailbox for what comes back; with --at for all that was there.", metavar="MAILBOX"
        ),
    ] = "",
    flags: Annotated[
        bool, typer.Option("--flags", help="With --at: what is still there gets the flags and keywords of then.")
    ] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Bring back a deleted mailbox, or all that was expunged in one.

    With --at what was in the mailbox that had this name at that moment, with the flags it had then, also what was moved
    elsewhere since; what came later stays. With --at and --into a new mailbox gets just what was there, and the old one
    stays as it is.
    """
    if since and at:
        raise UsageError("Error: --since and --at exclude each other")
    if flags and (into or not at):
        raise UsageError("Error: --flags goes with --at, without --into")
    after, then = moment(since), moment(at) if at else None
    namesakes: list[DeletedMailbox] = []

    def work(tx: Tx) -> tuple[Mailbox, int, int]:
        namesakes.clear()
        user = find(tx, username)
        mailbox_id, deleted = undelete.mailbox_at(tx, user.id, mailbox, then)
        if then is None and not deleted:
            namesakes.extend(box for box in undelete.deleted_mailboxes(tx, user.id) if box.name == normalised(mailbox))
        if then is not None and into:
            target = _new(tx, user.id, into)
            return mailbox_lookup.get(tx, target.id), undelete.copy_state(tx, mailbox_id, then, target), 0
        count = 0
        if deleted:
            box = undelete.revive(tx, user.id, mailbox_id, into or mailbox)
            mailboxes.subscribe(tx, user.id, box.name)
            count = box.message_count
            if then is None:
                return box, count, 0
            into_box = box
        else:
            box = mailbox_lookup.get(tx, mailbox_id)
            into_box = _target(tx, user.id, into) if into else box
        flagged = undelete.restore_flags(tx, box, then) if flags and then is not None else 0
        return into_box, count + undelete.restore_mailbox(tx, box, since=after, at=then, into=into_box), flagged

    box, count, flagged = write(db, work)
    row = {"mailbox": box.name, "messages": count} | ({"flagged": flagged} if flags else {})
    told = f"{_messages(count)} came back in {box.name}"
    if flags:
        told += f", {_messages(flagged)} there got the flags of then"
    print_done(told, row, as_json=as_json)
    for gone in namesakes:
        complain(
            f"Note: another {gone.name} with {_messages(gone.message_count)} was deleted at "
            f"{shown('deleted_at', gone.deleted_at)}: --at a moment before, with --into, copies what was in it"
        )


@app.command("account")
def restore_account(
    username: Username,
    at: Annotated[str, typer.Option("--at", help="The moment: 2h, 3d, or a date and time.", metavar="WHEN")],
    into: Annotated[str, typer.Option("--into", help="A new mailbox, below which they are put.", metavar="MAILBOX")],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Copy all mailboxes as they were at a moment, by the names they had, deleted ones too.

    Nothing else changes. Each mailbox is one step: when the quota ends it, those before are there.
    """
    then = moment(at)

    def begin(tx: Tx) -> tuple[int, list[Named]]:
        user = find(tx, username)
        boxes = past.mailboxes_at(tx, user.id, then)
        if not boxes:
            raise Refused(f"{username} had no mailboxes then")
        _new(tx, user.id, into)
        return user.id, boxes

    user_id, boxes = write(db, begin)
    rows = []
    for box in boxes:

        def work(tx: Tx, box: Named = box) -> dict[str, Any]:
            name = f"{into}{DELIMITER}{box.name}"
            target = mailbox_lookup.find(tx, user_id, name) or _new(tx, user_id, name)
            return {"mailbox": target.name, "messages": undelete.copy_state(tx, box.id, then, target)}

        rows.append(write(db, work))
    print_rows(rows, ["mailbox", "messages"], as_json=as_json)


def _messages(count: int) -> str:
    return f"{shown('messages', count)} message{'' if count == 1 else 's'}"


def _target(tx: Tx, user_id: int, name: str) -> Mailbox:
    return mailbox_lookup.find(tx, user_id, name) or _new(tx, user_id, name)


def _new(tx: Tx, user_id: int, name: str) -> Mailbox:
    box = mailboxes.create(tx, user_id, name)
    mailboxes.subscribe(tx, user_id, box.name)
    return box
