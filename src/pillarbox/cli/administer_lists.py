"""`pillarbox list`: distribution lists and their members."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from pillarbox.cli import accounts
from pillarbox.cli.administer_addresses import note_foreign
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.flags import UsageError
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_one, print_rows
from pillarbox.store import list_lookup, lists
from pillarbox.store.records import ListRow
from pillarbox.store.resolution import is_local_domain
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

app = group("Distribution lists: an address whose mail goes to its members.")

PAGE = 1000  # members of one transaction

Address = Annotated[str, typer.Argument(help="The list's address.", metavar="LIST")]
Owner = Annotated[str, typer.Option(help="Who reads bounces and questions, here or elsewhere.", metavar="ADDRESS")]
Title = Annotated[str, typer.Option(help="Stands in List-Id.")]
Posting = Annotated[str, typer.Option(help="Who may send to it: anyone, members or owner.")]


def _row_of(tx: Tx, row: ListRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "address": row.address,
        "title": row.title,
        "owner": row.owner,
        "posting": row.posting,
        "members": list_lookup.count_members(tx, row.id),
        "created_at": row.created_at,
    }


@app.command("list")
def list_lists(db: Database = None, as_json: AsJson = False) -> None:
    """All lists."""
    rows = read(db, lambda tx: [_row_of(tx, row) for row in lists.lists(tx)])
    print_rows(rows, ["id", "address", "title", "owner", "posting", "members"], as_json=as_json)


@app.command()
def show(address: Address, db: Database = None, as_json: AsJson = False) -> None:
    """One list and its members."""

    def work(tx: Tx) -> dict[str, Any]:
        row = lists.list_of(tx, address)
        return _row_of(tx, row) | {"members": list(list_lookup.member_addresses(tx, row.id))}

    print_one(read(db, work), as_json=as_json)


@app.command()
def create(
    address: Address,
    owner: Owner,
    title: Title = "",
    posting: Posting = "members",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make a list without members."""

    def work(tx: Tx) -> tuple[dict[str, Any], bool]:
        row = _row_of(tx, lists.create_list(tx, address, owner, title=title, posting=posting))
        return row, is_local_domain(tx, row["address"].rpartition("@")[2])

    row, ours = write(db, work, create=True)
    print_done(f"List {row['address']} was made", row, as_json=as_json)
    if not ours:
        note_foreign(row["address"])


@app.command("set")
def set_list(
    address: Address,
    owner: Annotated[str | None, typer.Option(help="Who reads bounces and questions.", metavar="ADDRESS")] = None,
    title: Annotated[str | None, typer.Option(help="Stands in List-Id.")] = None,
    posting: Annotated[str | None, typer.Option(help="Who may send to it: anyone, members or owner.")] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a list."""

    def work(tx: Tx) -> dict[str, Any]:
        return _row_of(tx, lists.set_list(tx, address, owner=owner, title=title, posting=posting))

    row = write(db, work)
    print_done(f"List {row['address']} was changed", row, as_json=as_json)


@app.command()
def delete(address: Address, db: Database = None, as_json: AsJson = False) -> None:
    """Remove a list and its memberships."""

    def work(tx: Tx) -> dict[str, Any]:
        row = _row_of(tx, lists.list_of(tx, address))
        lists.delete_list(tx, address)
        return row

    row = write(db, work)
    print_done(f"List {row['address']} was removed", row, as_json=as_json)


@app.command()
def add(
    address: Address,
    members: Annotated[list[str] | None, typer.Argument(help="Addresses, here or elsewhere.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read addresses from standard input, one a line.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Add members. Those who are members already are passed over."""
    wanted = [*(members or []), *(_lines() if stdin else [])]
    if not wanted:
        raise UsageError("Error: no addresses; name them, or pipe them in with --stdin")

    async def work(store: Store) -> int:
        added = 0
        for start in range(0, len(wanted), PAGE):
            added += await store.write(lists.add_members, address, wanted[start : start + PAGE])
        return added

    added = accounts.on_store(store_of(db), work, create=False)
    print_done(f"{added} member(s) added to {address}", {"address": address, "added": added}, as_json=as_json)


@app.command()
def remove(
    address: Address,
    members: Annotated[list[str], typer.Argument(help="Addresses of members.")],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Remove members: all that are named, or none."""

    def work(tx: Tx) -> int:
        for member in members:
            lists.remove_member(tx, address, member)
        return len(members)

    removed = write(db, work)
    print_done(f"{removed} member(s) removed from {address}", {"address": address, "removed": removed}, as_json=as_json)


def _lines() -> list[str]:
    """Addresses of a file: blank lines and what follows a # at a line's beginning are no addresses."""
    if sys.stdin is None:
        raise Refused("standard input is closed")
    return [line for line in map(str.strip, sys.stdin) if line and not line.startswith("#")]
