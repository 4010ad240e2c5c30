"""What clients note about a mailbox or the server (RFC 5464): entries by name, each with octets.

An entry below /private is one account's, one below /shared is everybody's. Names are compared in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.store.errors import Invalid
from pillarbox.store.tx import Tx

MAX_VALUE = 64 * 1024  # octets
MAX_ENTRIES = 1000  # of one mailbox, or of the server, for one account or for everybody
PRIVATE = "/private/"

_ALL = (
    "SELECT entry, value FROM metadata WHERE coalesce(mailbox_id, 0) = ? AND coalesce(user_id, 0) IN (0, ?) "
    "ORDER BY entry"
)
_ONE = "coalesce(mailbox_id, 0) = ? AND coalesce(user_id, 0) = ?"

Entries = dict[str, bytes]


class TooMany(Invalid):
    """There are as many entries as there can be."""


class TooLarge(Invalid):
    """A value has more than MAX_VALUE octets."""


def entries(tx: Tx, user_id: int, mailbox_id: int | None) -> Entries:
    """The shared entries and an account's own, of a mailbox or (None) of the server."""
    return {entry: bytes(value) for entry, value in tx.rows(_ALL, (mailbox_id or 0, user_id))}


def store(
    tx: Tx, user_id: int, mailbox_id: int | None, changes: Sequence[tuple[str, bytes | None]], owner_id: int = 0
) -> None:
    """Set entries, and remove those whose value is None. `owner_id`: whose mailbox that is, to tell its watchers.

    Raises TooLarge, TooMany.
    """
    for entry, value in changes:
        whose = user_id if entry.startswith(PRIVATE) else None
        key = (mailbox_id or 0, whose or 0)
        if value is not None and len(value) > MAX_VALUE:
            raise TooLarge(f"a value has at most {MAX_VALUE} octets")
        tx.run(f"DELETE FROM metadata WHERE {_ONE} AND entry = ?", (*key, entry))
        if value is None:
            continue
        (count,) = tx.row(f"SELECT count(*) FROM metadata WHERE {_ONE}", key) or (0,)
        if count >= MAX_ENTRIES:
            raise TooMany(f"there are at most {MAX_ENTRIES} entries")
        tx.insert(
            "INSERT INTO metadata (mailbox_id, user_id, entry, value) VALUES (?, ?, ?, ?)",
            (mailbox_id, whose, entry, value),
        )
    if owner_id and mailbox_id:
        tx.touch(owner_id, mailbox_id)
