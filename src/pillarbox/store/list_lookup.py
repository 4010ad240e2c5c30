"""Distribution lists as mail meets them: who may post, and to whom a post goes, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from pillarbox.store.records import ListRow
from pillarbox.store.tx import Tx

PAGE = 500  # members read at once

_LIST = "SELECT id, address, title, owner, posting, created_at FROM lists WHERE id = ?"
_MEMBER = "SELECT 1 FROM list_members WHERE list_id = ? AND address = ?"
_ANY_MEMBER = "SELECT 1 FROM list_members WHERE list_id = ? LIMIT 1"
_MEMBERS = "SELECT address FROM list_members WHERE list_id = ? AND address > ? ORDER BY address LIMIT ?"


def get_list(tx: Tx, list_id: int) -> ListRow | None:
    row = tx.row(_LIST, (list_id,))
    return None if row is None else ListRow(*row)


def is_member(tx: Tx, list_id: int, address: str) -> bool:
    """`address` in the form that compares."""
    return tx.row(_MEMBER, (list_id, address)) is not None


def has_members(tx: Tx, list_id: int) -> bool:
    return tx.row(_ANY_MEMBER, (list_id,)) is not None


def count_members(tx: Tx, list_id: int) -> int:
    row = tx.row("SELECT count(*) FROM list_members WHERE list_id = ?", (list_id,))
    return row[0] if row else 0


def member_addresses(tx: Tx, list_id: int) -> Iterator[str]:
    """All members' addresses, in their order."""
    last = ""
    while True:
        page = tx.rows(_MEMBERS, (list_id, last, PAGE))
        for (address,) in page:
            yield address
        if len(page) < PAGE:
            return
        last = page[-1][0]
