"""Distribution lists and their members, for those who administer them; `list_lookup` is for mail.

Whatever changes here counts as a change of the directory.
"""

from __future__ import annotations

from collections.abc import Iterable

from pillarbox.store import directory
from pillarbox.store.addresses import SEPARATOR, address_key
from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.records import ListRow
from pillarbox.store.resolution import LIST_SUFFIXES, resolve
from pillarbox.store.tx import Tx

POSTING = ("anyone", "members", "owner")

_LIST = "id, address, title, owner, posting, created_at"


def create_list(tx: Tx, address: str, owner: str, *, title: str = "", posting: str = "members") -> ListRow:
    """Raises Conflict (somebody has that address), Invalid."""
    key = address_key(address)
    if tx.row("SELECT 1 FROM lists WHERE address = ?", (key,)):
        raise Conflict(f"list {key} already exists")
    if tx.row("SELECT 1 FROM users WHERE lower(email) = lower(?)", (key,)):
        raise Conflict(f"the address {key} belongs to a user")
    if tx.row("SELECT 1 FROM aliases WHERE address = ?", (key,)):
        raise Conflict(f"{key} is an alias")
    tx.insert("INSERT INTO lists (address, created_at) VALUES (?, ?)", (key, tx.now))
    return set_list(tx, key, owner=owner, title=title, posting=posting)


def set_list(
    tx: Tx, address: str, *, owner: str | None = None, title: str | None = None, posting: str | None = None
) -> ListRow:
    """Change what is given. Raises NotFound, Invalid."""
    before = list_of(tx, address)
    posting = before.posting if posting is None else posting
    if posting not in POSTING:
        raise Invalid(f"those who may post are {', '.join(POSTING)}, not {posting!r}")
    if title is not None and (len(title) > 200 or any(c < " " or c == "\x7f" for c in title)):
        raise Invalid("a title is one line of at most 200 characters")
    title = before.title if title is None else title
    key = before.owner if owner is None else _owner_of(tx, before, owner)
    tx.run("UPDATE lists SET owner = ?, title = ?, posting = ? WHERE id = ?", (key, title, posting, before.id))
    directory.changed(tx)
    return list_of(tx, address)


def _owner_of(tx: Tx, row: ListRow, owner: str) -> str:
    """The owner's address in its form. Raises Invalid."""
    key = address_key(owner)
    local, _, domain = key.rpartition("@")
    base = local.partition(SEPARATOR)[0]
    own = {row.address, *(own_address(row.address, suffix) for suffix in LIST_SUFFIXES)}
    leads_back = {key, f"{base}@{domain}"} & own or row.id in dict(resolve(tx, local, domain).lists)
    if leads_back:
        raise Invalid(
            f"{key} cannot own {row.address}: its mail would go to the list itself, "
            "bounces and questions must reach a person"
        )
    return key


def own_address(address: str, suffix: str) -> str:
    """LIST-owner and the like of a list."""
    local, _, domain = address.rpartition("@")
    return f"{local}{suffix}@{domain}"


def delete_list(tx: Tx, address: str) -> None:
    """With its members. Raises NotFound, Invalid."""
    found = list_of(tx, address)
    tx.run("DELETE FROM list_members WHERE list_id = ?", (found.id,))
    tx.run("DELETE FROM lists WHERE id = ?", (found.id,))
    directory.changed(tx)


def list_of(tx: Tx, address: str) -> ListRow:
    """The list of this address. Raises NotFound, Invalid."""
    row = tx.row(f"SELECT {_LIST} FROM lists WHERE address = ?", (address_key(address),))
    if row is None:
        raise NotFound(f"no list {address}")
    return ListRow(*row)


def lists(tx: Tx) -> list[ListRow]:
    return [ListRow(*row) for row in tx.rows(f"SELECT {_LIST} FROM lists ORDER BY address")]


def add_members(tx: Tx, address: str, members: Iterable[str]) -> int:
    """How many were not there yet. Raises NotFound, Invalid."""
    found = list_of(tx, address)
    added = 0
    for member in members:
        key = address_key(member)
        if key == found.address:
            raise Invalid("a list cannot be its own member")
        added += tx.run(
            "INSERT INTO list_members (list_id, address) VALUES (?, ?) ON CONFLICT (list_id, address) DO NOTHING",
            (found.id, key),
        )
    if added:
        directory.changed(tx)
    return added


def remove_member(tx: Tx, address: str, member: str) -> None:
    """Raises NotFound, Invalid."""
    found = list_of(tx, address)
    if not tx.run("DELETE FROM list_members WHERE list_id = ? AND address = ?", (found.id, address_key(member))):
        raise NotFound(f"{member} is no member of {found.address}")
    directory.changed(tx)


def members(tx: Tx, address: str, limit: int = 1000, after: str = "") -> list[str]:
    """Addresses in their order, `limit` at a time: `after` is the last of the page before. Raises NotFound, Invalid."""
    rows = tx.rows(
        "SELECT address FROM list_members WHERE list_id = ? AND address > ? ORDER BY address LIMIT ?",
        (list_of(tx, address).id, after, limit),
    )
    return [row[0] for row in rows]
