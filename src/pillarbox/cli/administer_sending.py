"""`pillarbox user grant|revoke|grants|hold|release|purge`: as whom an account may send, and whether it may at all."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.cli import accounts
from pillarbox.cli.administer_queue import operator
from pillarbox.cli.administer_users import Username, find
from pillarbox.cli.command_line import AsJson, Database, read, write
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.flow import queue_orders
from pillarbox.flow.queue_orders import Carried
from pillarbox.store import directory, senders, usage
from pillarbox.store.records import QueueFilter, SenderGrant, User
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

BY_HAND = "by the postmaster"

Address = Annotated[str, typer.Argument(help="An address, or @domain for all of a domain.", metavar="ADDRESS")]


def register(app: typer.Typer) -> None:
    """Add the commands to those of `pillarbox user`."""
    for command in (grant, revoke, grants, hold, release, purge):
        app.command()(command)


def grant(username: Username, address: Address, db: Database = None, as_json: AsJson = False) -> None:
    """Let an account send as an address that is not its own."""

    def work(tx: Tx) -> tuple[User, SenderGrant]:
        user = find(tx, username)
        return user, senders.grant(tx, user.id, address)

    user, made = write(db, work)
    print_done(f"{user.username} may send as {made.address}", _row(user, made.address), as_json=as_json)


def revoke(username: Username, address: Address, db: Database = None, as_json: AsJson = False) -> None:
    """Take such a right back."""

    def work(tx: Tx) -> User:
        user = find(tx, username)
        senders.revoke(tx, user.id, address)
        return user

    user = write(db, work)
    print_done(f"{user.username} may not send as {address} any more", _row(user, address), as_json=as_json)


def grants(
    username: Annotated[str, typer.Argument(help="Username or e-mail address; all accounts without it.")] = "",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """What was granted: each account may send as its own addresses and aliases too."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        found = senders.grants(tx, find(tx, username).id if username else None)
        return [_row(directory.get_user(tx, row.user_id), row.address) for row in found]

    print_rows(read(db, work), ["username", "address"], as_json=as_json)


def _row(user: User, address: str) -> dict[str, Any]:
    return {"username": user.username, "address": address}


def hold(
    username: Username,
    reason: Annotated[str, typer.Option(help="Told to the account when it tries to send.")] = BY_HAND,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Let an account send nothing more, and hold what it has in the queue."""

    async def work(store: Store) -> tuple[dict[str, Any], str]:
        user = await store.scan(find, username)
        await store.write(senders.hold, user.id, reason)
        wanted = QueueFilter(user_id=user.id)
        return _outcome(user, "held", await queue_orders.carry_out(store, "hold", wanted, operator()))

    _print(work, "{username} may send nothing; of the queue {said}", db, as_json)


def release(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """Let an account send again, and send what was held."""

    async def work(store: Store) -> tuple[dict[str, Any], str]:
        user = await store.scan(find, username)
        await store.write(_release, user.id)
        wanted = QueueFilter(user_id=user.id, status="held")
        return _outcome(user, "released", await queue_orders.carry_out(store, "release", wanted, operator()))

    _print(work, "{username} may send again; of the queue {said}", db, as_json)


def _release(tx: Tx, user_id: int) -> None:
    senders.release(tx, user_id)
    usage.forget(tx, user_id)


def purge(
    username: Username,
    release: Annotated[bool, typer.Option("--release", help="Let it send again, too.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Delete what was held of an account; nobody is told. The account stays held."""

    async def work(store: Store) -> tuple[dict[str, Any], str]:
        user = await store.scan(find, username)
        wanted = QueueFilter(user_id=user.id, status="held")
        deleted = await queue_orders.carry_out(store, "delete", wanted, operator())
        if release:
            await store.write(_release, user.id)
        return _outcome(user, "deleted", deleted)

    _print(work, "of what was held of {username}: {said}", db, as_json)


def _outcome(user: User, done: str, carried: Carried) -> tuple[dict[str, Any], str]:
    """For scripts, and how many entries of the queue in words."""
    row = {"username": user.username, done: carried.changed}
    return row | {"delivered": carried.delivered, "in_transfer": carried.in_transfer}, carried.said(done)


def _print(work: Any, text: str, db: Database, as_json: bool) -> None:
    row, said = accounts.on_store(store_of(db), work, create=False)
    print_done(text.format(**row, said=said), row, as_json=as_json)
