"""What clients note about a mailbox or the server (RFC 5464): entries by name, each with octets.

An entry below /private is one account's, one below /shared is everybody's. Names are compared in lower case. Which of
them were changed last is kept by the number of the change, for those who listen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pillarbox.store.errors import Invalid
from pillarbox.store.tx import Tx

MAX_VALUE = 64 * 1024  # octets
MAX_ENTRIES = 1000  # of one mailbox, or of the server, for one account or for everybody
PRIVATE = "/private/"
CHANGES = 1000  # that are kept of an account, and of the server

_ALL = (
    "SELECT entry, value FROM metadata WHERE coalesce(mailbox_id, 0) = ? AND coalesce(user_id, 0) IN (0, ?) "
    "ORDER BY entry"
)
_ONE = "coalesce(mailbox_id, 0) = ? AND coalesce(user_id, 0) = ?"

_DIRECTORY = "UPDATE store_counters SET value = value + 1 WHERE id = 3 RETURNING value"
_CHANGED = "SELECT modseq, mailbox_id, user_id, entry FROM metadata_changes WHERE {} AND modseq > ? ORDER BY modseq, id"
_OF_ACCOUNT, _OF_SERVER = _CHANGED.format("owner_id = ?"), _CHANGED.format("owner_id IS NULL")
_OLDEST = "SELECT modseq FROM metadata_changes WHERE {} ORDER BY modseq DESC LIMIT 1 OFFSET ?"
_SERVER_CHANGES = "SELECT coalesce(max(modseq), 0) FROM metadata_changes WHERE owner_id IS NULL"

Entries = dict[str, bytes]


class Changed(NamedTuple):
    """An entry that was set or removed: of a mailbox or (None) of the server, one account's or (None) everybody's."""

    modseq: int
    mailbox_id: int | None
    user_id: int | None
    entry: str


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
    """Set entries, and remove those whose value is None. `owner_id`: whose mailbox that is.

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
    note(tx, user_id, mailbox_id, [entry for entry, _ in changes], owner_id)


def note(tx: Tx, user_id: int, mailbox_id: int | None, names: Iterable[str], owner_id: int = 0) -> None:
    """These entries have changed: number the change, and tell the watchers of the account. See `store`."""
    numbers: dict[int | None, int] = {}
    for entry in names:
        private = entry.startswith(PRIVATE)
        owner = (owner_id or user_id) if mailbox_id or private else None
        if owner not in numbers:
            numbers[owner] = _number(tx, owner)
        tx.insert(
            "INSERT INTO metadata_changes (owner_id, modseq, mailbox_id, user_id, entry) VALUES (?, ?, ?, ?, ?)",
            (owner, numbers[owner], mailbox_id, user_id if private else None, entry),
        )
    for owner in numbers:
        tx.touch(owner or 0, 0)
        where, values = ("owner_id = ?", (owner,)) if owner else ("owner_id IS NULL", ())
        oldest = tx.row(_OLDEST.format(where), (*values, CHANGES))
        if oldest is not None:
            tx.run(f"DELETE FROM metadata_changes WHERE {where} AND modseq <= ?", (*values, oldest[0]))


def _number(tx: Tx, owner_id: int | None) -> int:
    """The account's next number; for the server's own entries that of the directory, so that every process looks."""
    if owner_id is not None:
        return tx.next_modseq(owner_id)
    (version,) = tx.row(_DIRECTORY) or (0,)
    return int(version)


def changes(tx: Tx, owner_id: int, since: int, since_server: int) -> list[Changed]:
    """What was changed in an account's mailboxes and its own entries of the server after a number; and, after
    `since_server`, of what everybody sees of the server (these have neither mailbox nor user)."""
    rows = tx.rows(_OF_ACCOUNT, (owner_id, since)) + tx.rows(_OF_SERVER, (since_server,))
    return [Changed(*row) for row in rows]


def last_of_server(tx: Tx) -> int:
    """The number of the last change of what everybody sees of the server."""
    (last,) = tx.row(_SERVER_CHANGES) or (0,)
    return int(last)
