"""What happened to messages, kept until it is trimmed: rows of `message_events`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pillarbox.store.tx import Tx


class Event(msgspec.Struct, frozen=True, gc=False):
    """`at` in milliseconds since 1970; `detail` is a JSON object or ""."""

    at: int
    message_key: str
    kind: str
    sender: str = ""
    recipient: str = ""
    queue_id: int | None = None
    detail: str = ""


_ADD = (
    "INSERT INTO message_events (at, message_key, queue_id, kind, sender, recipient, detail) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def add_events(tx: Tx, events: Sequence[Event]) -> None:
    tx.many(_ADD, [(e.at, e.message_key, e.queue_id, e.kind, e.sender, e.recipient, e.detail) for e in events])
