"""Orders about rows that somebody is sending just now: whether the other server has taken the message nobody knows yet.

Such a row gets a wish and stays its sender's claim. He obeys when he settles it, or before he has begun, and so does
whoever claims it after him. Only what was not delivered is returned, deleted or moved; what was delivered is gone,
whatever was wished. The last wish counts. A row that is held in that moment needs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pillarbox.store.queue_settle import UNSENT
from pillarbox.store.tx import QUEUE, Tx

IN_HAND = 300  # seconds for whoever sends a row to say what came of it, when it was held meanwhile

# In somebody's hand though it is not to be sent any more. The text is that of the index (step 16).
CALLED = "claimed_by <> '' AND (wish <> '' OR status <> 'processing')"

_CALLED_OF = f"SELECT id FROM message_queue WHERE claimed_by = ? AND {CALLED}"
_HOLDERS = f"SELECT DISTINCT claimed_by FROM message_queue WHERE {CALLED}"
_HIS_CLAIM = (
    "status = 'processing', next_retry_at = CASE WHEN status = 'processing' THEN next_retry_at ELSE ? END, "
    "updated_at = ?"
)
_LEFT = f"SELECT id FROM message_queue WHERE ((wish <> '' AND next_retry_at IS NOT NULL) OR ({CALLED})) AND "
_TAKEN = "SELECT DISTINCT queue_id FROM message_events WHERE message_key = ? AND kind = 'relayed' AND "


class Wish(msgspec.Struct, frozen=True):
    """`order`: bounce, delete or move. `destination`: where to, for the story."""

    order: str
    operator: str = ""
    destination: str = ""


class Hand(NamedTuple):
    """What is known of a row in somebody's hand. `moved`: to this route, by an operator."""

    message_key: str
    held: bool
    route_id: int | None
    moved: int


class Claim(NamedTuple):
    """`mine`: still the holder's, and not held."""

    mine: bool
    wish: Wish | None


def written(wish: Wish) -> str:
    return msgspec.json.encode(wish).decode()


def read(text: str) -> Wish | None:
    """None for no wish. A word that an operator wrote there by hand is the order."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=Wish)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return Wish(text)


def in_hand(tx: Tx, ids: Sequence[int]) -> dict[int, Hand]:
    """Those of these rows that somebody is sending. Nothing changes of any until the end of the transaction."""
    if not ids:
        return {}
    condition, values = tx.among("id", ids)
    sql = "SELECT id, claimed_by, message_key, status <> 'processing', route_id, moved FROM message_queue WHERE "
    rows = tx.rows(f"{sql}{condition} ORDER BY id" + tx.locking("FOR UPDATE"), (values,))
    return {id: Hand(key, bool(held), *way) for id, holder, key, held, *way in rows if holder}


def ask(tx: Tx, ids: Sequence[int], wish: Wish) -> None:
    """Of rows in somebody's hand. One that was held there meanwhile is his claim again, until he says what came of
    it."""
    if not ids:
        return
    condition, values = tx.among("id", ids)
    sql = f"UPDATE message_queue SET wish = ?, {_HIS_CLAIM} WHERE {condition}"
    tx.run(sql, (written(wish), tx.now + IN_HAND, tx.now, values))
    tx.touch(*QUEUE)


def ask_to_move(tx: Tx, ids: Sequence[int], route_id: int | None, wish: Wish) -> None:
    """As `ask`, of rows that are not held; with the route that they take then (None: the one that the rules say)."""
    if ids:
        condition, values = tx.among("id", ids)
        sql = f"UPDATE message_queue SET wish = ?, route_id = ?, moved = ?, updated_at = ? WHERE {condition}"
        tx.run(sql, (written(wish), route_id, int(route_id is not None), tx.now, values))
        tx.touch(*QUEUE)


def called(tx: Tx, holder: str) -> list[int]:
    """Rows in this hand that are not to be sent any more."""
    return [row[0] for row in tx.rows(_CALLED_OF, (holder,))]


def holders(tx: Tx) -> set[str]:
    """Who has such rows."""
    return {row[0] for row in tx.rows(_HOLDERS)}


def claims(tx: Tx, ids: Sequence[int], holder: str) -> dict[int, Claim]:
    """Those of `ids` that are still in the queue, as they stay until the end of the transaction: an operator may have
    held, moved or deleted them, or the lease may have ended."""
    condition, values = tx.among("id", ids)
    sql = f"SELECT id, status, claimed_by, wish FROM message_queue WHERE {condition} ORDER BY id"
    return {
        id: Claim(status == "processing" and by == holder, read(wish))
        for id, status, by, wish in tx.rows(sql + tx.locking("FOR UPDATE"), (values,))
    }


def moved(tx: Tx, ids: Sequence[int]) -> None:
    """In nobody's hand any more, they are routed anew, and due at once."""
    if ids:
        condition, values = tx.among("id", ids)
        sql = f"UPDATE message_queue SET wish = '', destination_id = NULL, status = {UNSENT} WHERE {condition}"
        tx.run(sql, (values,))
        tx.touch(*QUEUE)


def left(tx: Tx, ids: Sequence[int]) -> set[int]:
    """Rows of which nobody knows yet what becomes of them."""
    condition, values = tx.among("id", ids)
    return {row[0] for row in tx.rows(_LEFT + condition, (values,))}


def delivered(tx: Tx, rows: Mapping[int, str]) -> set[int]:
    """Those of these rows that another server took, by the stories of their messages (row id: id of the message)."""
    of_message: dict[str, list[int]] = {}
    for queue_id, key in rows.items():
        of_message.setdefault(key, []).append(queue_id)
    found: set[int] = set()
    for key, ids in of_message.items():
        condition, values = tx.among("queue_id", ids)
        found.update(row[0] for row in tx.rows(_TAKEN + condition, (key, values)))
    return found
