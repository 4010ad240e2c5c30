"""Queue rows as they may be found: written by hand, with their message in `message_data` or none at all."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs
from pillarbox.store.tx import Tx

NO_MESSAGE = "there is no message in this row"


def with_message(tx: Tx, ids: Sequence[int]) -> dict[int, int]:
    """`next_retry_at` of those rows of `ids` that wait and have a message.

    A message in `message_data` (a row written by hand with the documented columns) is made a blob. Rows without any
    become dead letters.
    """
    condition, values = tx.among("q.id", ids)
    rows = tx.rows(
        "SELECT q.id, q.next_retry_at, b.complete, length(q.message_data) FROM message_queue q "
        f"LEFT JOIN blobs b ON b.id = q.blob_id WHERE q.next_retry_at IS NOT NULL AND {condition}",
        (values,),
    )
    waiting = {}
    for queue_id, next_retry_at, complete, octets in rows:
        if complete or (octets and _adopt(tx, queue_id)):
            waiting[queue_id] = next_retry_at
        else:
            tx.run(
                "UPDATE message_queue SET status = 'failed', next_retry_at = NULL, claimed_by = '', last_error = ?, "
                "updated_at = ? WHERE id = ?",
                (NO_MESSAGE, tx.now, queue_id),
            )
    return waiting


def _adopt(tx: Tx, queue_id: int) -> bool:
    row = tx.row("SELECT message_data FROM message_queue WHERE id = ?", (queue_id,))
    if row is None:
        return False
    data = row[0].encode() if isinstance(row[0], str) else bytes(row[0])  # `sqlite3` writes what is quoted as text
    blob_id = blobs.add(tx, blobs.pack(data), analyse(data))
    tx.run("UPDATE message_queue SET blob_id = ?, message_data = ? WHERE id = ?", (blob_id, b"", queue_id))
    return True
