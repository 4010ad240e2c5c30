"""Putting a message into mailboxes and into the queue: the hot path.

Each mailbox entry costs three statements: the account is charged and gives the modification number, the mailbox gives
the UID and counts, the row is inserted. The order account, then mailbox, is the order of locks everywhere
(PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pillarbox.store import blobs, destinations
from pillarbox.store.errors import NotFound, OverQuota, StoreError, Temporary
from pillarbox.store.flags import DELETED, SEEN, join_keywords
from pillarbox.store.mailboxes import ensure_inbox
from pillarbox.store.quota import charge
from pillarbox.store.records import Appended, Delivery, NewMessage, Outcome, Queued, QueuedMessage, Warm
from pillarbox.store.tx import QUEUE, Tx

_COUNT = (
    "UPDATE mailboxes SET uidnext = uidnext + 1, highestmodseq = ?, message_count = message_count + 1, "
    "unseen_count = unseen_count + ?, deleted_count = deleted_count + ?, total_size = total_size + ? "
)
_COUNT_BY_NAME = _COUNT + "WHERE user_id = ? AND name = ? RETURNING id, uidnext - 1, uidvalidity"
_COUNT_BY_ID = _COUNT + "WHERE id = ? RETURNING id, uidnext - 1, uidvalidity"
_INSERT = (
    "INSERT INTO messages (mailbox_id, uid, blob_id, flags, keywords, modseq, internal_date, save_date, size, prefix) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
MOST_CLAIMED = 100  # rows of a message that are somebody's claim at once

# Tries after the first that fit into a life by the settings' defaults. It only tells: age decides, and when a row is
# put off it is noted anew, by the settings of then.
MAX_RETRIES = 34
MAX_RETRIES_OF_REPORT = 10

_ENQUEUE = (
    "INSERT INTO message_queue (from_address, to_address, priority, created_at, updated_at, next_retry_at, blob_id, "
    "prefix, status, message_key, destination_id, route_id, user_id, via, notify, orcpt, ret, envid, body, smtputf8, "
    f"deliver_by, deliver_mode, not_before, claimed_by, max_retries) VALUES (?{', ?' * 24})"
)


def deliver(tx: Tx, message: NewMessage, plans: Sequence[Delivery | Queued], warm: Warm | None = None) -> list[Outcome]:
    """Carry out every plan, each for itself; one outcome a plan, in their order. `warm`: whose claim queue rows are
    from the beginning, where that keeps their order.

    Over quota or a user who is gone is an outcome, and so is what is wrong with one of several mailboxes. Raises what
    makes all of it fail (Full, Busy, a blob that is not there).
    """
    blob = _Blob(message, warm)
    if len(plans) == 1:
        _find_destinations(tx, blob, plans)
        return [_carry_out(tx, blob, plans[0])]
    tx.lock(plan.user_id for plan in plans if isinstance(plan, Delivery))
    outcomes: list[Outcome] = []
    with suppress(_NothingStored), tx.savepoint():
        blob.id(tx)
        _find_destinations(tx, blob, plans)
        for plan in plans:
            outcomes.append(_each(tx, blob, plan))
        if all(outcome.error for outcome in outcomes):
            raise _NothingStored  # nor is the blob
    return outcomes


class _NothingStored(Exception):
    """Every plan was refused."""


def _each(tx: Tx, blob: _Blob, plan: Delivery | Queued) -> Outcome:
    """One plan of several: what is wrong with it is its outcome alone. Nothing is ever wrong with a queue row alone."""
    if isinstance(plan, Queued):
        return _enqueue(tx, blob, plan)
    try:
        with tx.savepoint():
            return _carry_out(tx, blob, plan)
    except Temporary:
        raise
    except StoreError as error:
        return Outcome(plan.recipient, error=str(error))


def append(
    tx: Tx,
    mailbox_id: int,
    message: NewMessage,
    flags: int = 0,
    keywords: Sequence[str] = (),
    internal_date: int | None = None,
    *,
    beyond: bool = False,
) -> Appended:
    """Put one message into a mailbox (IMAP APPEND), with `beyond` whatever its quota. Raises NotFound, OverQuota."""
    row = tx.row("SELECT user_id FROM mailboxes WHERE id = ? AND deleted_at IS NULL", (mailbox_id,))
    if row is None:
        raise NotFound("no such mailbox")
    size = message.analysis.size
    modseq = charge(tx, row[0], size, beyond=beyond)
    placed = tx.row(_COUNT_BY_ID, (modseq, int(not flags & SEEN), int(bool(flags & DELETED)), size, mailbox_id))
    if placed is None:
        raise NotFound("no such mailbox")
    _, uid, uidvalidity = placed
    date = tx.now if internal_date is None else internal_date
    blob_id = _Blob(message).in_mailbox(tx)
    tx.insert(_INSERT, (mailbox_id, uid, blob_id, flags, join_keywords(keywords), modseq, date, tx.now, size, b""))
    tx.touch(row[0], mailbox_id)
    return Appended(uid, uidvalidity, modseq)


class _Blob:
    """The message's blob, written when the first plan needs it; and `destinations` (ids by name) of its queue rows,
    those of `claimed` ones too."""

    __slots__ = ("_id", "_message", "claimed", "destinations", "size", "warm")

    def __init__(self, message: NewMessage, warm: Warm | None = None) -> None:
        self._message = message
        self.warm = warm
        self.claimed: set[str] = set()
        self._id: int | None = None
        self.size = message.analysis.size
        self.destinations: dict[str, int] = {}

    def id(self, tx: Tx) -> int:
        if self._id is None:
            self._id = blobs.store(tx, self._message)
        return self._id

    def in_mailbox(self, tx: Tx) -> int:
        """The id, for a mailbox entry: what was computed of the message is there."""
        blob_id = self.id(tx)
        if self._message.analysis.is_outline:
            blobs.look_into(tx, blob_id)
        return blob_id


def _carry_out(tx: Tx, blob: _Blob, plan: Delivery | Queued) -> Outcome:
    if isinstance(plan, Queued):
        return _enqueue(tx, blob, plan)
    size = blob.size + len(plan.prefix)
    try:
        modseq = charge(tx, plan.user_id, size)
    except (OverQuota, NotFound) as error:
        return Outcome(plan.recipient, error=str(error))
    flags = plan.flags
    counts = (modseq, int(not flags & SEEN), int(bool(flags & DELETED)), size)
    placed = tx.row(_COUNT_BY_NAME, (*counts, plan.user_id, plan.mailbox))
    if placed is None:  # the folder was deleted since the plan was made
        placed = tx.row(_COUNT_BY_ID, (*counts, ensure_inbox(tx, plan.user_id)))
        assert placed is not None
    mailbox_id, uid, uidvalidity = placed
    date = tx.now if plan.internal_date is None else plan.internal_date
    keywords = join_keywords(plan.keywords) if plan.keywords else ""
    tx.insert(_INSERT, (mailbox_id, uid, blob.in_mailbox(tx), flags, keywords, modseq, date, tx.now, size, plan.prefix))
    tx.touch(plan.user_id, mailbox_id)
    return Outcome(plan.recipient, mailbox_id, uid, uidvalidity)


def _find_destinations(tx: Tx, blob: _Blob, plans: Sequence[Delivery | Queued]) -> None:
    due: dict[str, int] = {}
    warm = _warm(plans, blob.warm) if blob.warm is not None else {}
    for plan in plans:
        if isinstance(plan, Queued) and plan.destination and not plan.held:
            at = tx.now if plan.not_before is None else plan.not_before
            due[plan.destination] = min(due.get(plan.destination, at), at)
    for name, priority in warm.items():
        assert blob.warm is not None
        destination_id = blob.warm.leased.get(name) or destinations.at_ease(tx, name, priority)
        if destination_id is not None:
            blob.destinations[name] = destination_id  # the queue's triggers see to the rest
            blob.claimed.add(name)
            del due[name]
    if due:
        blob.destinations |= destinations.ensure(tx, due)


def _warm(plans: Sequence[Delivery | Queued], warm: Warm) -> dict[str, int]:
    """Destinations, with the priority of their rows, for which a sender of this process waits."""
    found: dict[str, list[Queued]] = {}
    for plan in plans:
        if isinstance(plan, Queued) and (plan.destination in warm.leased or plan.destination in warm.shared):
            found.setdefault(plan.destination, []).append(plan)
    return {
        name: rows[0].priority
        for name, rows in found.items()
        if len(rows) <= MOST_CLAIMED and not any(row.held or row.not_before is not None for row in rows)
    }


def _enqueue(tx: Tx, blob: _Blob, plan: Queued) -> Outcome:
    now = tx.now
    warm = blob.warm if plan.destination in blob.claimed else None
    if warm is not None:
        due_at: int | None = now + warm.lease
    else:
        due_at = None if plan.held else now if plan.not_before is None else plan.not_before
    queue_id = tx.insert(
        _ENQUEUE,
        (
            plan.sender,
            plan.recipient,
            plan.priority,
            now,
            now,
            due_at,
            blob.id(tx),
            plan.prefix,
            "held" if plan.held else "pending" if warm is None else "processing",
            plan.message_key,
            blob.destinations.get(plan.destination),
            plan.route_id,
            plan.user_id,
            plan.via,
            plan.notify,
            plan.orcpt,
            plan.ret,
            plan.envid,
            plan.body,
            int(plan.smtputf8),
            plan.deliver_by,
            plan.deliver_mode,
            plan.not_before,
            "" if warm is None else warm.holder,
            MAX_RETRIES if plan.sender else MAX_RETRIES_OF_REPORT,
        ),
    )
    if warm is not None:
        return Outcome(plan.recipient, queue_id=queue_id, claimed=_claimed(tx, blob, plan, queue_id))
    if not plan.held:
        tx.touch(*QUEUE)
    return Outcome(plan.recipient, queue_id=queue_id)


def _claimed(tx: Tx, blob: _Blob, plan: Queued, queue_id: int) -> QueuedMessage:
    """The row, as `queue_claim.claim` would have it."""
    return QueuedMessage(
        id=queue_id,
        message_key=plan.message_key,
        sender=plan.sender,
        recipient=plan.recipient,
        prefix=plan.prefix,
        blob_id=blob.id(tx),
        size=len(plan.prefix) + blob.size,
        priority=plan.priority,
        attempts=0,
        created_at=tx.now,
        expires_at=None,
        route_id=plan.route_id,
        user_id=plan.user_id,
        via=plan.via,
        notify=plan.notify,
        orcpt=plan.orcpt,
        ret=plan.ret,
        envid=plan.envid,
        body=plan.body,
        smtputf8=plan.smtputf8,
        deliver_by=plan.deliver_by,
        deliver_mode=plan.deliver_mode,
        delay_reported_at=None,
        last_error=None,
    )
