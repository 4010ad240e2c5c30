"""Messages that a program of before step 9 of the schema has stored: the header fields that lists show are made for
them (`blobs.listed`), so that FETCH finds them at hand as it does those of later ones.

A job goes once through all blobs by their ids and remembers how far it is; what it takes to make the fields is done in
a reader's thread. Later it only looks at what has come since, which an old program may have stored after a rollback.
"""

from __future__ import annotations

from typing import NamedTuple

from pillarbox.mime.header import listed_fields
from pillarbox.store import summaries
from pillarbox.store.blobs import read_slice
from pillarbox.store.errors import Corrupt, NotFound
from pillarbox.store.tx import Tx

_REACHED = "listed_to"  # in store_meta: the blobs up to this id were looked at
_LOOK = 2000  # blobs of one visit of a reader's thread
_BATCH = 200  # of which fields are made in it
_MOST = 64 * 1024  # octets of a header: a longer one has no such fields (`listed_fields`)

_BLOBS = (
    "SELECT id, CASE WHEN listed IS NULL AND envelope IS NOT NULL AND complete = 1 THEN header_size END FROM blobs "
    f"WHERE id > ? ORDER BY id LIMIT {_LOOK}"
)
_TOLD = (
    "SELECT DISTINCT s.id FROM messages m JOIN summaries s ON s.mailbox_id = m.mailbox_id "
    "AND m.uid BETWEEN s.first_uid AND s.last_uid WHERE "
)


class Fields(NamedTuple):
    """For `put`: all blobs up to an id were looked at; fields by id, of those that had none."""

    reached: int
    made: dict[int, bytes]


def due(tx: Tx) -> list[Fields]:
    """The next ones. A scan."""
    rows = tx.rows(_BLOBS, (_reached(tx),))
    made: dict[int, bytes] = {}
    reached = 0
    for reached, header_size in rows:
        if header_size is not None and header_size <= _MOST:
            try:
                fields = listed_fields(read_slice(tx, reached, 0, header_size))
            except (Corrupt, NotFound):
                continue  # `pillarbox check` tells of it
            if fields is not None:
                made[reached] = fields
            if len(made) == _BATCH:
                break
    return [Fields(reached, made)] if rows else []


def put(tx: Tx, found: Fields) -> int:
    """Write them, and make summaries anew that told nothing of these messages; how many blobs."""
    if _reached(tx) < found.reached:
        tx.run(
            "INSERT INTO store_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (_REACHED, str(found.reached)),
        )
    tx.many(
        "UPDATE blobs SET listed = ? WHERE id = ? AND listed IS NULL",
        [(fields, blob_id) for blob_id, fields in found.made.items()],
    )
    if found.made:
        condition, values = tx.among("m.blob_id", list(found.made))
        for (summary_id,) in tx.rows(_TOLD + condition, (values,)):
            summaries.renew(tx, summary_id)
    return len(found.made)


def _reached(tx: Tx) -> int:
    row = tx.row("SELECT value FROM store_meta WHERE key = ?", (_REACHED,))
    return int(row[0]) if row else 0
