"""`pillarbox queue`: what waits to be sent, and what an operator does about it. The server may run or not."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
import typer

from pillarbox.cli import accounts, mailq
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read
from pillarbox.cli.flags import EXIT_FAILED, complain
from pillarbox.cli.queue_selection import (
    Account,
    All,
    Destination,
    Domain,
    Ids,
    Message,
    OlderThan,
    Recipient,
    Selection,
    Sender,
    Status,
)
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import Listing, print_done, print_one, print_rows
from pillarbox.config import load
from pillarbox.flow import queue_orders
from pillarbox.flow.queue_orders import PATIENCE, Carried, Order
from pillarbox.flow.sending.policy import policy
from pillarbox.store import blobs, queue, queue_stats, routes
from pillarbox.store.records import QueueFilter, QueueRow
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

app = group("The queue: what waits to be sent. Entries are one for each recipient.")

Entry = Annotated[str, typer.Argument(help="The number of an entry, or the id of a message.", metavar="ID")]
Limit = Annotated[int, typer.Option(help="Entries at most.", min=1)]
Wait = Annotated[float, typer.Option(help="Seconds to wait for what is in transfer.", min=0, max=3600)]
_COLUMNS = ["id", "message", "status", "sender", "recipient", "size", "attempts", "created_at", "next_try_at", "error"]
_NOTHING = "nothing in the queue is meant by {}"
_INSTEAD = {
    "held": "; `pillarbox queue release` lets it go",
    "processing": " just now; try again in a moment",
}
_PIECE = 1 << 20  # octets of a message read at once


@app.command("list")
def list_entries(
    ids: Ids = None,
    status: Status = None,
    sender: Sender = None,
    recipient: Recipient = None,
    domain: Domain = None,
    destination: Destination = None,
    account: Account = None,
    older_than: OlderThan = None,
    message: Message = None,
    limit: Limit = 100,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Entries of the queue, the oldest first."""
    chosen = Selection(ids, status, sender, recipient, domain, destination, account, older_than, message)
    chosen.check(needed=False)
    _list(chosen, limit, db, as_json=as_json)


@app.command()
def dead(limit: Limit = 100, db: Database = None, as_json: AsJson = False) -> None:
    """Dead letters: given up, and nobody could be told. Kept for SMTP_DEAD_LETTER_DAYS."""
    _list(Selection(status="failed"), limit, db, as_json=as_json)
    loaded = load()
    if not as_json and not loaded.errors:
        days = loaded.settings.dead_letter_days
        how_long = f"for {days} days after the last thing that happened to it" if days else "until you delete it"
        print(f"A dead letter is kept {how_long} (SMTP_DEAD_LETTER_DAYS)", file=sys.stderr)


def _list(chosen: Selection, limit: int, db: Database, *, as_json: bool) -> None:
    async def work(store: Store) -> tuple[int, list[str]]:
        listing = Listing(_COLUMNS, as_json=as_json)
        filters, unknown = await store.scan(chosen.filters), await store.scan(chosen.unknown)
        holding = await store.scan(routes.holding)
        seen: set[int] = set()
        count = 0
        for wanted in filters:
            last = 0
            while rows := await store.scan(queue.find, wanted, min(queue.PAGE, limit - count), last):
                last = rows[-1].id
                new = [row for row in rows if row.id not in seen]
                if len(filters) > 1:
                    seen.update(row.id for row in new)
                count += len(new)
                listing.add([_as_json(row) if as_json else _shown(row, holding) for row in new])
        listing.end()
        return count, unknown

    count, unknown = accounts.on_store(store_of(db), work, create=False)
    if unknown:
        complain(_NOTHING.format(", ".join(unknown)))
    elif not count and not as_json:
        complain("no entry of the queue is meant by that" if chosen.filtered else "the queue is empty")
    if count == limit and not as_json:
        complain(f"... there may be more than {limit}: see --limit and `pillarbox queue stats`")


@app.command()
def show(entry: Entry, db: Database = None, as_json: AsJson = False) -> None:
    """Everything about one entry. `pillarbox trace` tells its story."""
    print_one(_as_json(_one(db, entry)), as_json=as_json)


@app.command()
def cat(entry: Entry, db: Database = None) -> None:
    """The message of one entry, as it is sent."""

    wanted = _meant(entry)

    async def work(store: Store) -> None:
        rows = await store.scan(lambda tx: queue.find(tx, wanted, 1))  # of a message all have the same
        if not rows or rows[0].blob_id is None:
            raise Refused(f"there is no entry {entry} with a message")
        prefix = await store.scan(queue.prefix_of, rows[0].id)
        sys.stdout.buffer.write(prefix)
        at, end = 0, rows[0].size - len(prefix)
        while at < end:
            piece = await store.scan(blobs.read_slice, rows[0].blob_id, at, min(_PIECE, end - at))
            if not piece:
                break
            sys.stdout.buffer.write(piece)
            at += len(piece)
        sys.stdout.buffer.flush()

    accounts.on_store(store_of(db), work, create=False)


@app.command()
def stats(db: Database = None, as_json: AsJson = False, limit: Limit = 20) -> None:
    """Counts by status, and the destinations with the most recipients."""
    found = read(db, lambda tx: queue_stats.stats(tx, limit))
    counts = msgspec.to_builtins(found.counts)
    if as_json:
        print_one({**counts, **msgspec.to_builtins(found), "counts": counts}, as_json=True)
        return
    print_one({**counts, "oldest_at": found.oldest_at}, as_json=False)
    rows = [msgspec.to_builtins(each) for each in found.destinations]
    if rows:
        print()
        columns = ["name", "recipients", "oldest_at", "next_try_at", "failures", "blocked_until", "last_error"]
        print_rows([{**row, "name": row["name"] or "(to be routed)"} for row in rows], columns, as_json=False)


@app.command("mailq")
def mailq_command(db: Database = None) -> None:
    """The queue in the form of Sendmail and Postfix."""
    accounts.on_store(store_of(db), lambda store: mailq.show(store, sys.stdout.write), create=False)


CarryOut = Callable[[Store, QueueFilter, float], Awaitable[Carried]]  # with the seconds to wait


def _order(name: str, text: str, done: str, carry_out: CarryOut) -> None:
    """Make the command `name`, which takes ids, a filter or --all; `done` completes "3 entries ..."."""

    def command(
        ids: Ids = None,
        status: Status = None,
        sender: Sender = None,
        recipient: Recipient = None,
        domain: Domain = None,
        destination: Destination = None,
        account: Account = None,
        older_than: OlderThan = None,
        message: Message = None,
        everything: All = False,
        wait: Wait = PATIENCE,
        db: Database = None,
        as_json: AsJson = False,
    ) -> None:
        chosen = Selection(
            ids, status, sender, recipient, domain, destination, account, older_than, message, everything
        )
        chosen.check(needed=True)
        _carry_out(chosen, db, done, carry_out, wait, as_json=as_json)

    app.command(name, help=text)(command)


def _carry_out(
    chosen: Selection,
    db: Database,
    done: str,
    carry_out: CarryOut,
    wait: float,
    *,
    as_json: bool,
) -> None:
    def meant(tx: Tx) -> list[QueueRow]:
        return [row for wanted in chosen.filters(tx) for row in queue.find(tx, wanted, 1)]

    async def work(store: Store) -> tuple[Carried, list[QueueRow], list[str]]:
        unknown = await store.scan(chosen.unknown)
        each = [await carry_out(store, wanted, wait) for wanted in await store.scan(chosen.filters)]
        carried = Carried(*map(sum, zip(*each, strict=True)))
        return carried, [] if any(carried) else await store.scan(meant), unknown

    carried, left, unknown = accounts.on_store(store_of(db), work, create=False)
    if not any(carried) and chosen.words:
        if not left:
            raise Refused(_NOTHING.format(", ".join(unknown)))
        words, state = ", ".join(chosen.words), _state(left[0])
        raise Refused(f"nothing is to be done with {words}: entry {left[0].id} is {state}{_INSTEAD.get(state, '')}")
    print_done(carried.said(done), carried._asdict(), as_json=as_json)
    if unknown:
        raise Refused(_NOTHING.format(", ".join(unknown)))
    if chosen.words and not carried.changed and not carried.in_transfer:
        raise typer.Exit(EXIT_FAILED)


def _simple(order: Order) -> CarryOut:
    return lambda store, wanted, wait: queue_orders.carry_out(store, order, wanted, operator(), patience=wait)


async def _bounce(store: Store, wanted: QueueFilter, wait: float) -> Carried:
    loaded = load()
    if loaded.errors:
        raise Refused(str(loaded.errors[0]))
    return await queue_orders.give_back(store, wanted, operator(), policy(loaded.settings), patience=wait)


_order("hold", "Keep back until `release`.", "held", _simple("hold"))
_order("release", "Let go what was held.", "released", _simple("release"))
_order("retry", "Try now, dead letters too; the running server begins within a second.", "due now", _simple("retry"))
_order("bounce", "Return to the sender with a report.", "returned", _bounce)
_order("delete", "Remove; nobody is told.", "deleted", _simple("delete"))


@app.command()
def move(
    to: Annotated[str, typer.Option(help='The name of a route; "default" is what the rules say.', metavar="ROUTE")],
    ids: Ids = None,
    status: Status = None,
    sender: Sender = None,
    recipient: Recipient = None,
    domain: Domain = None,
    destination: Destination = None,
    account: Account = None,
    older_than: OlderThan = None,
    message: Message = None,
    everything: All = False,
    wait: Wait = PATIENCE,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Send by another route from now on. One of kind hold keeps them until `release`."""
    chosen = Selection(ids, status, sender, recipient, domain, destination, account, older_than, message, everything)
    chosen.check(needed=True)

    async def carry_out(store: Store, wanted: QueueFilter, wait: float) -> Carried:
        route_id = None if to == "default" else (await store.read(routes.route_named, to)).id
        return await queue_orders.carry_out(store, "move", wanted, operator(), route_id, patience=wait)

    _carry_out(chosen, db, f"moved to {to}", carry_out, wait, as_json=as_json)


def operator() -> str:
    """Who gives the order, for the story of the message."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _meant(entry: str) -> QueueFilter:
    Selection([entry]).check(needed=True)
    return queue_orders.meant_by(entry)


def _one(db: Database, entry: str) -> QueueRow:
    wanted = _meant(entry)
    rows = read(db, lambda tx: queue.find(tx, wanted, 2))
    if not rows:
        raise Refused(f"there is no entry {entry} in the queue")
    if len(rows) > 1:
        raise Refused(f"message {entry} has several entries: `pillarbox queue list {entry}` shows them")
    return rows[0]


def _as_json(row: QueueRow) -> dict[str, Any]:
    return dict(msgspec.to_builtins(row))


def _state(row: QueueRow) -> str:
    return "dead" if row.status == "failed" else row.status


def _shown(row: QueueRow, holding: Mapping[int, str]) -> dict[str, Any]:
    by_rule = row.status == "held" and row.route_id is not None and holding.get(row.route_id)
    return {
        "id": row.id,
        "message": row.message_key,
        "status": _state(row),
        "sender": row.from_address or "<>",
        "recipient": row.to_address,
        "size": row.size,
        "attempts": row.attempts,
        "created_at": row.created_at,
        "next_try_at": row.next_retry_at,
        "error": row.last_error or (f"held by route {by_rule}" if by_rule else None),
    }
