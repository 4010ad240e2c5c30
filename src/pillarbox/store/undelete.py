"""Bringing back what was expunged, and mailboxes that were deleted, for as long as they are kept.

An expunged message counts for nobody's quota; when it comes back it is charged again and gets a new UID (RFC 9051
section 2.3.1.1: UIDs never return), with the flags, keywords and dates it had, but without \\Deleted. What was moved to
another mailbox is still there and only comes back, as a copy, when the state of a mailbox at a moment is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.flags import DELETED
from pillarbox.store.mailbox_lookup import find, get, list_mailboxes
from pillarbox.store.mailbox_names import normalised
from pillarbox.store.mailboxes import make_parents, new_uidvalidity, require_room
from pillarbox.store.quota import charge
from pillarbox.store.records import DeletedMailbox, Gone, Mailbox
from pillarbox.store.tx import Row, Tx

_GONE = (
    "SELECT e.id, m.id, m.name, e.uid, e.expunged_at, e.moved, e.flags, e.internal_date, e.size, b.subject, "
    "b.message_id FROM expunged e JOIN mailboxes m ON m.id = e.mailbox_id JOIN blobs b ON b.id = e.blob_id "
    "WHERE e.mailbox_id = ? AND e.expunged_at >= ?"
)
_BACK = (
    "INSERT INTO messages (mailbox_id, uid, blob_id, flags, keywords, modseq, internal_date, save_date, size, prefix) "
    f"SELECT ?, ? + row_number() OVER (ORDER BY save_date, uid), blob_id, flags - (flags & {DELETED}), keywords, ?, "
    "internal_date, coalesce(?, save_date), size, prefix FROM "
)
_SUMS = "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(CASE WHEN flags & 1 = 0 THEN 1 ELSE 0 END), 0) FROM "
_COUNT = (
    "UPDATE mailboxes SET uidnext = uidnext + ?, highestmodseq = ?, message_count = message_count + ?, "
    "unseen_count = unseen_count + ?, total_size = total_size + ? WHERE id = ?"
)
# What was in a mailbox at a moment and still has its octets: (id, moment) twice.
_THEN = (
    "(SELECT uid, blob_id, flags, keywords, internal_date, save_date, size, prefix FROM messages "
    "WHERE mailbox_id = ? AND save_date <= ? UNION ALL "
    "SELECT uid, blob_id, flags, keywords, internal_date, save_date, size, prefix FROM expunged "
    "WHERE mailbox_id = ? AND blob_id IS NOT NULL AND save_date <= ? AND expunged_at > ?) AS past"
)


def gone(tx: Tx, user_id: int, mailbox: str = "", since: int = 0, *, moved: bool = False) -> list[Gone]:
    """What can be brought back of an account or one mailbox of it, the latest first. A scan. Raises NotFound.

    Of deleted mailboxes too: messages that were expunged in them before.
    """
    boxes = _boxes(tx, user_id, mailbox)
    found = []
    for mailbox_id in boxes:
        sql = _GONE if moved else _GONE + " AND e.moved = 0"
        found += [_gone(row) for row in tx.rows(sql, (mailbox_id, since))]
    return sorted(found, key=lambda one: (-one.expunged_at, one.mailbox, one.uid))


def deleted_mailboxes(tx: Tx, user_id: int) -> list[DeletedMailbox]:
    """The mailboxes of an account that can be brought back, the latest first."""
    rows = tx.rows(
        "SELECT id, name, deleted_at, created_at, message_count, total_size FROM mailboxes "
        "WHERE deleted_owner = ? AND deleted_at IS NOT NULL ORDER BY deleted_at DESC, id DESC",
        (user_id,),
    )
    return [DeletedMailbox(*row) for row in rows]


def restore(tx: Tx, user_id: int, ids: Sequence[int], into: str = "") -> list[int]:
    """Bring these messages (`Gone.id`) back to where they were, or into another mailbox; the ids that came back.

    Those of a deleted mailbox need `into`. Raises NotFound (`into`, or the mailbox of one is deleted), OverQuota.
    """
    tx.lock([user_id])
    condition, values = tx.among("id", ids)
    rows = tx.rows(
        "SELECT id, mailbox_id FROM expunged WHERE expunged_at IS NOT NULL AND blob_id IS NOT NULL "
        f"AND {condition} ORDER BY id",
        (values,),
    )
    own = set(_boxes(tx, user_id))
    target = _required(tx, user_id, into) if into else None
    by_mailbox: dict[int, list[int]] = {}
    for message_id, mailbox_id in rows:
        if mailbox_id in own:
            by_mailbox.setdefault(mailbox_id, []).append(message_id)
    for mailbox_id, some in by_mailbox.items():
        back = target or get(tx, mailbox_id)
        _bring_back(tx, some, back, keep_date=back.id == mailbox_id)
    return [message_id for some in by_mailbox.values() for message_id in some]


def restore_mailbox(
    tx: Tx, mailbox: Mailbox, *, since: int = 0, at: int | None = None, into: Mailbox | None = None
) -> int:
    """Bring back all that was expunged in a mailbox since a time; with `at` what was there at that moment, also what
    was moved elsewhere since; how many. What came later stays. Raises OverQuota.
    """
    tx.lock([mailbox.user_id])
    condition = "expunged_at >= ? AND moved = 0" if at is None else "expunged_at > ? AND save_date <= ?"
    moments = (since,) if at is None else (at, at)
    rows = tx.rows(
        f"SELECT id FROM expunged WHERE mailbox_id = ? AND blob_id IS NOT NULL AND {condition}", (mailbox.id, *moments)
    )
    if rows:
        target = into or mailbox
        _bring_back(tx, [row[0] for row in rows], target, keep_date=target.id == mailbox.id)
    return len(rows)


def copy_state(tx: Tx, mailbox_id: int, at: int, target: Mailbox) -> int:
    """Copy a mailbox (a deleted one too) as it was at a moment into an empty one; how many messages.

    Flags are those of now, or of the end. Raises Conflict (not empty), OverQuota.
    """
    tx.lock([target.user_id])
    target = get(tx, target.id)
    if target.message_count:
        raise Conflict("a state goes into an empty mailbox")
    state = (mailbox_id, at, mailbox_id, at, at)
    count, size, unseen = tx.row(_SUMS + _THEN, state) or (0, 0, 0)
    if count:
        modseq = charge(tx, target.user_id, size, count)
        tx.run(
            _BACK + _THEN,
            (target.id, target.uidnext - 1, modseq, None, *state),
        )
        tx.run(_COUNT, (count, modseq, count, unseen, size, target.id))
        tx.touch(target.user_id, target.id)
    return int(count)


def revive(tx: Tx, user_id: int, mailbox_id: int, name: str = "") -> Mailbox:
    """Bring a deleted mailbox back with its messages, under its name or another one.

    It has a new UIDVALIDITY: another mailbox may have had its name meanwhile. Raises NotFound, Conflict (the name is
    taken, or too many), Invalid, OverQuota.
    """
    tx.lock([user_id])
    row = tx.row(
        "SELECT name, total_size, message_count FROM mailboxes "
        "WHERE id = ? AND deleted_owner = ? AND deleted_at IS NOT NULL",
        (mailbox_id, user_id),
    )
    if row is None:
        raise NotFound("no such deleted mailbox")
    name = normalised(name or row[0])
    if find(tx, user_id, name) is not None:
        raise Conflict(f"there is a mailbox {name}")
    modseq = charge(tx, user_id, row[1], row[2])
    make_parents(tx, user_id, name, modseq)
    require_room(tx, user_id)
    tx.run(
        "UPDATE mailboxes SET user_id = ?, name = ?, deleted_owner = NULL, deleted_at = NULL, uidvalidity = ?, "
        "highestmodseq = ? WHERE id = ?",
        (user_id, name, new_uidvalidity(tx), modseq, mailbox_id),
    )
    tx.touch(user_id, mailbox_id)
    return get(tx, mailbox_id)


def mailbox_at(tx: Tx, user_id: int, name: str, at: int | None = None) -> tuple[int, bool]:
    """The mailbox that had this name at a moment (now or last, without one), and whether it is deleted.

    Renames are not remembered: the name is the present or the last one. Raises NotFound.
    """
    name = normalised(name)
    box = find(tx, user_id, name)
    if box is not None and (at is None or box.created_at <= at):
        return box.id, False
    for other in deleted_mailboxes(tx, user_id):
        if other.name == name and (at is None or other.created_at <= at < other.deleted_at):
            return other.id, True
    raise NotFound(f"there was no mailbox {name}")


def forget(tx: Tx, before: int, limit: int = 1000) -> int:
    """Give up at most `limit` messages that were expunged before a time; how many. Their blobs are free then."""
    return tx.run(
        "UPDATE expunged SET expunged_at = NULL WHERE id IN "
        "(SELECT id FROM expunged WHERE expunged_at < ? ORDER BY expunged_at LIMIT ?)",
        (before, limit),
    )


def _gone(row: Row) -> Gone:
    values: list[Any] = [*row]
    values[5] = bool(row[5])
    return Gone(*values)


def _boxes(tx: Tx, user_id: int, name: str = "") -> list[int]:
    """Ids of an account's mailboxes, deleted ones too; only those of this name where one is given."""
    if not name:
        return [box.id for box in list_mailboxes(tx, user_id)] + [box.id for box in deleted_mailboxes(tx, user_id)]
    try:
        name = normalised(name)
    except Invalid as error:
        raise NotFound(str(error)) from error
    found = [box.id for box in deleted_mailboxes(tx, user_id) if box.name == name]
    box = find(tx, user_id, name)
    if box is not None:
        found.insert(0, box.id)
    if not found:
        raise NotFound(f"there is no mailbox {name}")
    return found


def _required(tx: Tx, user_id: int, name: str) -> Mailbox:
    box = find(tx, user_id, name)
    if box is None:
        raise NotFound(f"there is no mailbox {name}")
    return box


def _bring_back(tx: Tx, ids: Sequence[int], target: Mailbox, *, keep_date: bool) -> None:
    """`keep_date`: it has been in this mailbox since then, with an interruption (RFC 8514)."""
    condition, values = tx.among("id", ids)
    count, size, unseen = tx.row(f"{_SUMS}expunged WHERE {condition}", (values,)) or (0, 0, 0)
    modseq = charge(tx, target.user_id, size, count)
    target = get(tx, target.id)
    date = None if keep_date else tx.now
    tx.run(f"{_BACK}expunged WHERE {condition}", (target.id, target.uidnext - 1, modseq, date, values))
    tx.run(f"UPDATE expunged SET expunged_at = NULL WHERE {condition}", (values,))
    tx.run(_COUNT, (count, modseq, count, unseen, size, target.id))
    tx.touch(target.user_id, target.id)
