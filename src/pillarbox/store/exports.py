"""Reading whole mailboxes out, a page at a time, so that no read transaction is long."""

from __future__ import annotations

import msgspec

from pillarbox.store import blobs
from pillarbox.store.flags import split_keywords
from pillarbox.store.tx import Tx


class Leaving(msgspec.Struct, frozen=True, gc=False):
    """A message of a mailbox; its octets are read apart."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    date: int
    size: int
    prefix: bytes
    blob_id: int


def page(tx: Tx, mailbox_id: int, after: int, limit: int = 500) -> list[Leaving]:
    """The next messages behind a UID."""
    rows = tx.rows(
        "SELECT uid, flags, keywords, internal_date, size, prefix, blob_id FROM messages "
        "WHERE mailbox_id = ? AND uid > ? ORDER BY uid LIMIT ?",
        (mailbox_id, after, limit),
    )
    return [Leaving(uid, flags, split_keywords(words), *rest) for uid, flags, words, *rest in rows]


def octets(tx: Tx, message: Leaving) -> bytes:
    """The whole message. Raises NotFound (expunged and freed since), Corrupt."""
    return message.prefix + blobs.read_slice(tx, message.blob_id, 0, message.size)
