"""Ids of mailboxes, messages and threads that mean the same in every session and protocol (RFC 8474).

An id says what a thing is, not where: a message keeps its own through COPY and MOVE, a mailbox through RENAME. They are
computed of what the rows hold, and also of what differs after a database has gone back in time, so that an id is never
given to another thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from pillarbox.store.records import Mailbox, Rendered
from pillarbox.store.tx import Tx

_KEYS = "SELECT id, message_id, in_reply_to, refs FROM blobs WHERE "


def mailbox_id(box: Mailbox) -> str:
    """MAILBOXID: another one as soon as UIDVALIDITY is another one (RFC 8474 section 4)."""
    return f"F{box.id}-{box.uidvalidity}"


def email_id(row: Rendered) -> str:
    """EMAILID: the same for the same octets, whatever mailbox they are in."""
    digest = blake2b(b"%d %d " % (row.size, row.header_size), digest_size=8)
    digest.update(row.message_id.encode("utf-8", "replace"))
    digest.update(b"\0" + row.prefix)
    return f"M{row.blob_id}-{digest.hexdigest()}"


def thread_ids(tx: Tx, blob_ids: Sequence[int]) -> dict[int, str]:
    """THREADID by blob: of the first message that its References name, which all answers to one letter share.

    So it is known at once and never changes; an answer whose program sends In-Reply-To alone begins a thread with the
    message it answers.
    """
    tx.heavy(rows=len(blob_ids))
    condition, values = tx.among("id", blob_ids)
    return {row[0]: _thread_id(*row) for row in tx.rows(_KEYS + condition, (values,))}


def _thread_id(blob_id: int, message_id: str, in_reply_to: str, references: str) -> str:
    for text in (references, in_reply_to, message_id):
        words = text.split(None, 1)
        if words:
            return "T" + blake2b(words[0].encode("utf-8", "replace"), digest_size=12).hexdigest()
    return f"T{blob_id}"
