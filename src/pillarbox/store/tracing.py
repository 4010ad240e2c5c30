"""Finding a message for `pillarbox trace`, and where it is now: what the store still has of it beside its events."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from pillarbox.store.flags import NAMES
from pillarbox.store.queue import find
from pillarbox.store.records import QueueFilter, QueueRow
from pillarbox.store.tx import Tx

ENOUGH = 20_000  # events of one address that are looked at: those of a list's sender are many for each message
_HEADER = (
    "SELECT message_key, max(id) FROM message_events WHERE at >= ? AND detail LIKE ? ESCAPE '!' "
    "GROUP BY message_key ORDER BY 2 DESC LIMIT ?"
)
_ENTRY = (
    "SELECT u.username, b.name, m.uid, m.flags FROM messages m JOIN mailboxes b ON b.id = m.mailbox_id "
    "JOIN users u ON u.id = b.user_id WHERE "
)
# The latest first, so that a busy address needs no look at all there is.
_LATEST = (
    "SELECT message_key, max(id) FROM (SELECT message_key, id FROM message_events WHERE at >= ? AND message_key <> '' "
    f"AND (lower(sender) = lower(?) OR lower(recipient) = lower(?)) ORDER BY at DESC LIMIT {ENOUGH}) AS latest "
    "GROUP BY message_key ORDER BY 2 DESC LIMIT ?"
)


class Entry(msgspec.Struct, frozen=True):
    """A message in a mailbox."""

    username: str
    mailbox: str
    uid: int
    flags: tuple[str, ...]


def keys_of_header(tx: Tx, header_id: str, since: int, limit: int = 20) -> list[str]:
    """Messages with this Message-ID since a time in milliseconds, the latest first. Reads all events since then."""
    text = json.dumps(header_id, ensure_ascii=False)
    pattern = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return [row[0] for row in tx.rows(_HEADER, (since, f'%"header_id":{pattern}%', limit))]


def keys_of_address(tx: Tx, address: str, since: int, limit: int = 20) -> list[str]:
    """The latest messages from or to an address, the latest first. Reads events since then, the new ones first."""
    return [row[0] for row in tx.rows(_LATEST, (since, address, address, limit))]


def entry(tx: Tx, mailbox_id: int, uid: int) -> Entry | None:
    """What is in this place of a mailbox; None when it was moved or deleted."""
    row = tx.row(_ENTRY + "m.mailbox_id = ? AND m.uid = ?", (mailbox_id, uid))
    return Entry(row[0], row[1], row[2], _names(row[3])) if row else None


def entries_of_header(tx: Tx, header_id: str, limit: int = 100) -> list[Entry]:
    """Messages with this Message-ID in any mailbox. Reads all messages there are."""
    rows = tx.rows(
        _ENTRY + "m.blob_id IN (SELECT id FROM blobs WHERE message_id = ?) ORDER BY m.id LIMIT ?", (header_id, limit)
    )
    return [Entry(row[0], row[1], row[2], _names(row[3])) for row in rows]


def queue_rows(tx: Tx, ids: Sequence[int]) -> list[QueueRow]:
    """Those that are still in the queue."""
    return find(tx, QueueFilter(ids=tuple(ids)), limit=max(1, len(ids))) if ids else []


def _names(flags: int) -> tuple[str, ...]:
    return tuple(name for bit, name in NAMES if flags & bit)
