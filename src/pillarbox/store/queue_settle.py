"""Settling: what became of claimed rows. To be called in one transaction a batch.

With `holder` only rows that are still this holder's claim are changed, and in any case only rows that are claimed: what
an operator held, deleted or moved in the meantime stays so. Who has the message is removed whatever happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from pillarbox.store.text import storable
from pillarbox.store.tx import QUEUE, Tx

MOST = 2000  # characters of a server's words that are kept

QUIT = "claimed_by = ''"
UNSENT = "CASE WHEN attempts = 0 THEN 'pending' ELSE 'retry' END"  # the status of a row that only waits

# Not by the index of the status, which PostgreSQL would take: all that is and was claimed can be a lot.
CLAIMED = "status || '' = 'processing'"

_MINE = f"WHERE id = ? AND {CLAIMED} AND (? = '' OR claimed_by = ?)"
_SAID = f"{QUIT}, last_error = ?, last_host = ?, updated_at = ? "
_DEFER = (
    "UPDATE message_queue SET status = 'retry', next_retry_at = ?, attempts = attempts + 1, "
    f"retry_count = retry_count + 1, {_SAID}{_MINE}"
)
_FAIL = (
    "UPDATE message_queue SET status = 'failed', next_retry_at = NULL, wish = '', attempts = attempts + ?, "
    f"retry_count = retry_count + ?, {_SAID}{_MINE}"
)
_GIVE_BACK = (
    f"UPDATE message_queue SET status = {UNSENT}, {QUIT}, "
    "next_retry_at = CASE WHEN attempts = 0 THEN created_at ELSE ? END, updated_at = ? "
    f"WHERE {CLAIMED} AND claimed_by = ? AND "
)
_LET_GO = f"UPDATE message_queue SET {QUIT} WHERE status || '' IN ('held', 'failed') AND claimed_by = ? AND "


def remove(tx: Tx, ids: Sequence[int], holder: str = "") -> dict[int, bool]:
    """These are done. Those that were still in the queue, and whether they were still the holder's claim."""
    if not ids:
        return {}
    condition, values = tx.among("id", ids)
    rows = tx.rows(f"DELETE FROM message_queue WHERE {condition} RETURNING id, status, claimed_by", (values,))
    return {id: status == "processing" and claimed_by == holder for id, status, claimed_by in rows}


def defer(tx: Tx, rows: Iterable[tuple[int, int, str, str]], *, holder: str = "") -> None:
    """(id, next_retry_at, error, host): one attempt more was made, the next comes at that time."""
    tx.many(_DEFER, [(at, *_said(error, host), tx.now, id, holder, holder) for id, at, error, host in rows])


def fail(
    tx: Tx, rows: Iterable[tuple[int, str, str]], *, untried: AbstractSet[int] = frozenset(), holder: str = ""
) -> None:
    """(id, error, host): a dead letter, kept until an operator decides. `untried`: those that were given up without an
    attempt, such as by an order."""
    made = [(id, int(id not in untried), *_said(error, host)) for id, error, host in rows]
    tx.many(_FAIL, [(more, more, *said, tx.now, id, holder, holder) for id, more, *said in made])


def give_back(tx: Tx, holder: str, ids: Sequence[int]) -> None:
    """Claimed, but nothing was tried: due at once, and first in line again when nothing ever was."""
    if ids:
        condition, values = tx.among("id", ids)
        tx.run(_GIVE_BACK + condition, (tx.now, tx.now, holder, values))
        let_go(tx, holder, ids)
        tx.touch(*QUEUE)


def let_go(tx: Tx, holder: str, ids: Sequence[int]) -> None:
    """Those of these that an operator has held, or made dead letters, are not in the holder's hand any more."""
    if ids:
        condition, values = tx.among("id", ids)
        tx.run(_LET_GO + condition, (holder, values))


def note_delay(tx: Tx, ids: Sequence[int]) -> None:
    """The sender was told that these are late."""
    if ids:
        condition, values = tx.among("id", ids)
        tx.run(f"UPDATE message_queue SET delay_reported_at = ? WHERE {condition}", (tx.now, values))


def _said(error: str, host: str) -> tuple[str, str]:
    """A server may say anything, and what it said must not keep its row from being settled."""
    return storable(error, MOST), storable(host, MOST)
