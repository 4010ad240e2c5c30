"""`pillarbox ban`: addresses that may not log in for a while after failed logins."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.access.bans import network_of
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.store import bans
from pillarbox.store.errors import NotFound
from pillarbox.store.records import BanRow

app = group("Addresses that may not log in for a while after failed logins.")

Address = Annotated[str, typer.Argument(help="An address; of IPv6 its /64 is meant.", metavar="ADDRESS")]


def _row_of(row: BanRow) -> dict[str, Any]:
    return {
        "network": row.network,
        "reason": row.reason,
        "offences": row.offences,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
    }


def _network(address: str) -> str:
    try:
        return network_of(address.partition("/")[0])
    except ValueError:
        raise Refused(f"{address!r} is no IP address") from None


@app.command("list")
def list_bans(db: Database = None, as_json: AsJson = False) -> None:
    """The bans that hold now, the newest first."""
    rows = [_row_of(row) for row in read(db, bans.holding)]
    print_rows(rows, ["network", "reason", "offences", "created_at", "expires_at"], as_json=as_json)


@app.command()
def remove(address: Address, db: Database = None, as_json: AsJson = False) -> None:
    """Lift a ban at once, in running servers too."""
    network = _network(address)
    try:
        write(db, lambda tx: bans.remove(tx, network))
    except NotFound as error:
        raise Refused(str(error)) from None
    print_done(f"{network} may log in again", {"network": network}, as_json=as_json)


@app.command()
def add(
    address: Address,
    seconds: Annotated[int, typer.Option(help="How long.", min=60, max=366 * 86_400)] = 86_400,
    reason: Annotated[str, typer.Option(help="What the client is told.")] = "by the operator",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Ban an address by hand."""
    network = _network(address)
    made = write(db, lambda tx: bans.ban(tx, network, seconds, reason))
    print_done(f"{made.network} is banned", _row_of(made), as_json=as_json)
