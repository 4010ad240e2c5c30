"""The story of each message: what happened to it, a row a sentence. Written in batches, read by key, trimmed by age."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pillarbox.store.records import Event
from pillarbox.store.text import storable
from pillarbox.store.tx import Tx

__all__ = ["Event", "add_events", "add_of_rows", "events_of_address", "events_of_message", "key_of_row", "trim"]

_EVENT = "at, message_key, kind, sender, recipient, queue_id, detail, id"
_INSERT = (
    f"INSERT INTO message_events (at, message_key, kind, sender, recipient, queue_id, detail) VALUES (?{', ?' * 6})"
)
_OF_ROWS = (
    "INSERT INTO message_events (at, message_key, kind, sender, recipient, queue_id, detail) "
    "SELECT ?, message_key, ?, {from_address}, {to_address}, id, ? FROM message_queue "
    "WHERE message_key <> '' AND "
)
_OF_MESSAGE = f"SELECT {_EVENT} FROM message_events WHERE message_key = ? AND id > ? ORDER BY id LIMIT ?"
_TRIM = "DELETE FROM message_events WHERE id IN (SELECT id FROM message_events WHERE at < ? ORDER BY at LIMIT ?)"


def add_events(tx: Tx, rows: Iterable[Event]) -> None:
    tx.many(_INSERT, [_row(event) for event in rows])


def add_of_rows(tx: Tx, ids: Sequence[int], at: int, kind: str, detail: str) -> None:
    """The same happened to all these rows of the queue, at a time in milliseconds; `detail` as in `Event`."""
    condition, values = tx.among("id", ids)
    # In SQLite an operator may have put octets there, which are no text that could be read again.
    text = "CASE typeof({0}) WHEN 'text' THEN {0} ELSE '' END" if tx.engine == "sqlite" else "{0}"
    addresses = {name: text.format(name) for name in ("from_address", "to_address")}
    tx.run(_OF_ROWS.format(**addresses) + condition, (at, kind, detail, values))


def _row(event: Event) -> tuple[object, ...]:
    sender, recipient, detail = storable(event.sender), storable(event.recipient), storable(event.detail)
    return event.at, event.message_key, event.kind, sender, recipient, event.queue_id, detail


def events_of_message(tx: Tx, message_key: str, limit: int = 1000, after_id: int = 0) -> list[Event]:
    """What is known of a message, in the order in which it was written. By index."""
    rows = tx.rows(_OF_MESSAGE, (message_key, after_id, limit))
    return [Event(*row) for row in rows]


def events_of_address(tx: Tx, address: str, since: int = 0, limit: int = 1000) -> list[Event]:
    """The latest events with this sender or recipient since a time in milliseconds, the oldest of them first.

    Reads all events since then: for `store.scan`.
    """
    rows = tx.rows(
        f"SELECT {_EVENT} FROM message_events WHERE at >= ? AND (lower(sender) = lower(?) OR lower(recipient) = "
        "lower(?)) ORDER BY at DESC, id DESC LIMIT ?",
        (since, address, address, limit),
    )
    return [Event(*row) for row in reversed(rows)]


def key_of_row(tx: Tx, queue_id: int) -> str:
    """The message of a queue row, "" when nothing is known of it. Reads all events when the row is gone."""
    sql = "SELECT message_key FROM message_queue WHERE id = ?"
    events = "SELECT message_key FROM message_events WHERE queue_id = ? ORDER BY id DESC LIMIT 1"
    row = tx.row(sql, (queue_id,)) or tx.row(events, (queue_id,))
    return row[0] if row else ""


def trim(tx: Tx, before: int, limit: int = 1000) -> int:
    """Forget events from before a time in milliseconds, at most `limit`; how many."""
    return tx.run(_TRIM, (before, limit))
