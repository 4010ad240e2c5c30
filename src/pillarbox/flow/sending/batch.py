"""Rows of the queue become parcels: one message with all its recipients for a next hop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from msgspec import structs

from pillarbox.store.records import QueuedMessage

from ..parcel import Parcel, ParcelRecipient

MOST_RECIPIENTS = 100  # of a parcel; every server takes so many (RFC 5321 section 4.5.3.1.8)


class Load(NamedTuple):
    """A parcel and its rows, one for each recipient in their order.

    `forwarded`: an address of ours led here, so that the sender may have to be rewritten.
    """

    parcel: Parcel
    rows: tuple[QueuedMessage, ...]
    forwarded: bool

    def having(self, content: bytes) -> Load:
        """With what its blob holds."""
        return self._replace(parcel=structs.replace(self.parcel, content=content))

    def without(self, ids: Collection[int]) -> Load | None:
        """For the other rows; None when there are none."""
        rows = [row for row in self.rows if row.id not in ids]
        if len(rows) == len(self.rows):
            return self
        if not rows:
            return None
        left, content = load(rows), self.parcel.content
        return left if content is None else left.having(content)


def loads(rows: Sequence[QueuedMessage], most: int = MOST_RECIPIENTS) -> list[Load]:
    """Parcels in the order in which their first rows were claimed."""
    if len(rows) == 1:
        return [load([*rows])]
    groups: dict[tuple[object, ...], list[QueuedMessage]] = {}
    for row in rows:
        same = (row.message_key, row.sender, row.blob_id, row.prefix, row.priority, row.body, row.smtputf8)
        asked = (row.ret, row.envid, row.deliver_by, row.deliver_mode, bool(row.via))
        groups.setdefault((same, asked), []).append(row)
    return [load(group[at : at + most]) for group in groups.values() for at in range(0, len(group), most)]


def load(rows: list[QueuedMessage]) -> Load:
    """The parcel of rows that belong together."""
    first = rows[0]
    recipients = tuple(ParcelRecipient(row.id, row.recipient, row.notify, row.orcpt) for row in rows)
    parcel = Parcel(
        message_key=first.message_key,
        sender=first.sender,
        recipients=recipients,
        prefix=first.prefix,
        blob_id=first.blob_id,
        size=first.size,
        body=first.body,
        smtputf8=bool(first.smtputf8),
        ret=first.ret,
        envid=first.envid,
        priority=first.priority,
        deliver_by=first.deliver_by,
        deliver_mode=first.deliver_mode,
    )
    return Load(parcel, tuple(rows), bool(first.via) and bool(first.sender))
