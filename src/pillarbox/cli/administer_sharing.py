"""`pillarbox share`: mailboxes, or all of an account, for others to use."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import typer

from pillarbox.cli.administer_users import find
from pillarbox.cli.command_line import AsJson, Database, Refused, read, write
from pillarbox.cli.tables import print_rows
from pillarbox.store import directory, mailbox_lookup, rights, senders
from pillarbox.store.errors import Conflict, NotFound
from pillarbox.store.tx import Tx

NAMED = {"none": "", "read": "lrs", "write": "lrswiten", "manage": "lrswipkxten", "full": rights.ALL}

Owner = Annotated[str, typer.Argument(help="Whose mailboxes they are: username or e-mail address.")]
With = Annotated[str, typer.Argument(metavar="[WITH]", help="Username, address or anyone; without it, who has rights.")]
Box = Annotated[str, typer.Option(help="One mailbox, such as Archive/2024; without it the whole account.")]
Letters = Annotated[
    str, typer.Option("--rights", help="none, read, write, manage, full, or letters of RFC 4314 such as lrs.")
]
SendAs = Annotated[bool | None, typer.Option("--send-as/--no-send-as", help="May send as the account, or no more.")]


def share(
    owner: Owner,
    with_: With = "",
    mailbox: Box = "",
    letters: Letters = "write",
    send_as: SendAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Give others rights in an account's mailboxes, or show who has which. What is shared is below Other Users/."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        account = find(tx, owner)
        mailbox_id = _mailbox(tx, account.id, mailbox)
        if with_:
            who = with_ if with_.lower() == rights.ANYONE else find(tx, with_).username
            rights.change(tx, account.id, mailbox_id, who, "=", NAMED.get(letters.lower(), letters))
            if send_as is not None:
                _send_as(tx, find(tx, with_).id, account.email, send_as)
        return _rows(tx, account.id, account.email)

    rows = write(db, work) if with_ else read(db, work)
    print_rows(rows, ["mailbox", "with", "rights", "send_as"], as_json=as_json)


def _mailbox(tx: Tx, owner_id: int, name: str) -> int | None:
    if not name:
        return None
    box = mailbox_lookup.find(tx, owner_id, name)
    if box is None:
        raise Refused(f"no mailbox {name}")
    return box.id


def _send_as(tx: Tx, user_id: int, address: str, allowed: bool) -> None:
    with suppress(Conflict, NotFound):  # it is so already
        if allowed:
            senders.grant(tx, user_id, address)
        else:
            senders.revoke(tx, user_id, address)


def _rows(tx: Tx, owner_id: int, address: str) -> list[dict[str, Any]]:
    """Rights in all of the account, then in mailboxes where they are others."""
    granted = [grant.user_id for grant in senders.grants(tx) if grant.address == senders.grant_key(address)]
    may_send = {directory.get_user(tx, user_id).username for user_id in granted}
    everywhere = rights.listed(tx, owner_id, None)
    rows = [("", *pair) for pair in everywhere]
    for box in mailbox_lookup.list_mailboxes(tx, owner_id):
        here = rights.listed(tx, owner_id, box.id)
        without = {who for who, _ in everywhere} - {who for who, _ in here}
        rows += [(box.name, *pair) for pair in here if pair not in everywhere]
        rows += [(box.name, who, "none") for who in sorted(without)]
    return [
        {"mailbox": name or "(all)", "with": who, "rights": letters, "send_as": who in may_send}
        for name, who, letters in rows
    ]
