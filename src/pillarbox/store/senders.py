"""Who may send as whom, and who may not send at all for now.

An account may use its own address; others are granted to it. Whatever changes here counts as a change of the directory.
"""

from __future__ import annotations

from pillarbox.store import directory
from pillarbox.store.addresses import address_key, domain_key, split
from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.records import SenderGrant, User
from pillarbox.store.text import storable
from pillarbox.store.tx import Tx

_MAX_REASON = 500
_GRANTED = "SELECT 1 FROM sender_grants WHERE user_id = ? AND address IN (?, ?)"


def grant(tx: Tx, user_id: int, address: str) -> SenderGrant:
    """The account may send as this address, or as anybody in "@domain". Raises Conflict, Invalid, NotFound."""
    directory.get_user(tx, user_id)
    key = grant_key(address)
    if tx.row("SELECT 1 FROM sender_grants WHERE user_id = ? AND address = ?", (user_id, key)):
        raise Conflict(f"the account may send as {key} already")
    grant_id = tx.insert("INSERT INTO sender_grants (user_id, address) VALUES (?, ?)", (user_id, key))
    directory.changed(tx, user_id)
    return SenderGrant(grant_id, user_id, key)


def revoke(tx: Tx, user_id: int, address: str) -> None:
    """Raises NotFound, Invalid."""
    key = grant_key(address)
    if not tx.run("DELETE FROM sender_grants WHERE user_id = ? AND address = ?", (user_id, key)):
        raise NotFound(f"the account has no grant for {key}")
    directory.changed(tx, user_id)


def grants(tx: Tx, user_id: int | None = None) -> list[SenderGrant]:
    """All grants, or those of one account."""
    where, values = ("", ()) if user_id is None else ("WHERE user_id = ?", (user_id,))
    rows = tx.rows(f"SELECT id, user_id, address FROM sender_grants {where} ORDER BY user_id, address", values)
    return [SenderGrant(*row) for row in rows]


def is_granted(tx: Tx, user_id: int, address: str) -> bool:
    """Whether the address, or its whole domain, was granted. A point read. Raises Invalid."""
    key = address_key(address)
    return tx.row(_GRANTED, (user_id, key, key[key.rindex("@") :])) is not None


def hold(tx: Tx, user_id: int, reason: str) -> bool:
    """The account may not send until it is released; False when that is so already. Raises NotFound.

    What it has in the queue is held with `queue.in_pages(store, queue.hold, QueueFilter(user_id=user_id))`.
    """
    if directory.get_user(tx, user_id).sending_held_at is not None:
        return False
    tx.run(
        "UPDATE users SET sending_held_at = ?, sending_held_reason = ? WHERE id = ?",
        (tx.now, storable(reason, _MAX_REASON), user_id),
    )
    directory.changed(tx, user_id)
    return True


def release(tx: Tx, user_id: int) -> bool:
    """The account may send again; False when it might. Its rows in the queue: `queue.release`. Raises NotFound."""
    if directory.get_user(tx, user_id).sending_held_at is None:
        return False
    tx.run("UPDATE users SET sending_held_at = NULL, sending_held_reason = '' WHERE id = ?", (user_id,))
    directory.changed(tx, user_id)
    return True


def held(tx: Tx) -> list[User]:
    """Accounts that may not send, the latest first."""
    rows = tx.rows("SELECT id FROM users WHERE sending_held_at IS NOT NULL ORDER BY sending_held_at DESC, id")
    return [directory.get_user(tx, user_id) for (user_id,) in rows]


def grant_key(address: str) -> str:
    """An address or "@domain" in the form that compares. Raises Invalid."""
    if not address.startswith("@"):
        return address_key(address)
    domain = domain_key(address[1:])
    if not domain or split(f"x@{domain}")[1] != domain:
        raise Invalid(f"{address!r} is no domain")
    return "@" + domain
