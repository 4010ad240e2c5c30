"""Bringing back what was expunged, and mailboxes that were deleted, for as long as they are kept.

An expunged message counts for nobody's quota; when it comes back it is charged again and gets a new UID (RFC 9051
section 2.3.1.1: UIDs never return), with the flags, keywords, dates and annotations it had, but without \\Deleted. What
was moved to another mailbox is still there and only comes back, as a copy, when the state of a mailbox at a moment is
asked for; then flags are those of that moment (`past`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pillarbox.store import annotating, flagging, past, past_annotations
from pillarbox.store.annotating import EVERYTHING
from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.flags import ALL, DELETED, split_keywords
from pillarbox.store.mailbox_lookup import find, get, list_mailboxes
from pillarbox.store.mailbox_names import new_name, normalised
from pillarbox.store.mailboxes import make_parents, new_uidvalidity, require_room
from pillarbox.store.past import Flags
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
_SUMS = "SELECT count(*), coalesce(sum(size), 0) FROM "
_UNSEEN = "SELECT count(*) FROM messages WHERE mailbox_id = ? AND uid >= ? AND flags & 1 = 0"
_HERE = "SELECT uid FROM messages WHERE mailbox_id = ? AND save_date <= ?"
_COUNT = (
    "UPDATE mailboxes SET uidnext = uidnext + ?, highestmodseq = ?, message_count = message_count + ?, "
    "unseen_count = unseen_count + ?, total_size = total_size + ? WHERE id = ?"
)
# What was in a mailbox at a moment and still has its octets: (id, moment) twice.
_THEN = (
    "(SELECT id, uid, blob_id, flags, keywords, internal_date, save_date, size, prefix FROM messages "
    "WHERE mailbox_id = ? AND save_date <= ? UNION ALL "
    "SELECT id, uid, blob_id, flags, keywords, internal_date, save_date, size, prefix FROM expunged "
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
        _bring_back(tx, mailbox_id, some, back)
    return [message_id for some in by_mailbox.values() for message_id in some]


def restore_mailbox(
    tx: Tx, mailbox: Mailbox, *, since: int = 0, at: int | None = None, into: Mailbox | None = None
) -> int:
    """Bring back all that was expunged in a mailbox since a time; with `at` what was there at that moment, with
    the flags of then, also what was moved elsewhere since; how many. What came later stays. Raises OverQuota.
    """
    tx.lock([mailbox.user_id])
    condition = "expunged_at >= ? AND moved = 0" if at is None else "expunged_at > ? AND save_date <= ?"
    moments = (since,) if at is None else (at, at)
    rows = tx.rows(
        f"SELECT id FROM expunged WHERE mailbox_id = ? AND blob_id IS NOT NULL AND {condition}", (mailbox.id, *moments)
    )
    if rows:
        _bring_back(tx, mailbox.id, [row[0] for row in rows], into or mailbox, at)
    return len(rows)


def restore_flags(tx: Tx, mailbox: Mailbox, at: int) -> int:
    """Give the messages that were in a mailbox at a moment, and still are, the flags and keywords of then; how many are
    different now. \\Deleted stays as it is."""
    tx.lock([mailbox.user_id])
    here = [uid for (uid,) in tx.rows(_HERE, (mailbox.id, at))]
    groups: dict[Flags, list[int]] = {}
    for uid, flags in past.flags_at(tx, mailbox.id, at, here).items():
        groups.setdefault(flags, []).append(uid)
    changed = 0
    for (bits, text), uids in groups.items():
        words = split_keywords(text)
        changed += len(
            flagging.store_flags(tx, mailbox.id, sorted(uids), "set", bits, words, mask=ALL & ~DELETED).changed
        )
    return changed


def copy_state(tx: Tx, mailbox_id: int, at: int, target: Mailbox) -> int:
    """Copy a mailbox (a deleted one too) as it was at a moment into an empty one; how many messages.

    Flags are those of then; annotations those of now, or of the end. Raises Conflict (not empty), OverQuota.
    """
    tx.lock([target.user_id])
    target = get(tx, target.id)
    if target.message_count:
        raise Conflict("a state goes into an empty mailbox")
    copies = _put(tx, mailbox_id, _THEN, (mailbox_id, at, mailbox_id, at, at), target, at, None)
    if copies:
        target = get(tx, target.id)
        annotating.carry(
            tx, mailbox_id, target.id, target.user_id, copies, target.highestmodseq, EVERYTHING, beyond=True
        )
    return len(copies)


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
    name = new_name(name or row[0])
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
    """The mailbox that had this name at a moment (now or last, without one), whatever it is called by now, and whether
    it is deleted. Raises NotFound.
    """
    name = normalised(name)
    if at is not None:
        for then in past.mailboxes_at(tx, user_id, at):
            if then.name == name:
                return then.id, then.deleted
        raise NotFound(f"there was no mailbox {name} then")
    box = find(tx, user_id, name)
    if box is not None:
        return box.id, False
    for other in deleted_mailboxes(tx, user_id):
        if other.name == name:
            return other.id, True
    raise NotFound(f"there was no mailbox {name}")


def forget(tx: Tx, before: int, limit: int = 1000) -> int:
    """Give up at most `limit` messages that were expunged before a time; how many. Their blobs are free then."""
    rows = tx.rows("SELECT id FROM expunged WHERE expunged_at < ? ORDER BY expunged_at LIMIT ?", (before, limit))
    _give_up(tx, [message_id for (message_id,) in rows])
    return len(rows)


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


def _bring_back(tx: Tx, mailbox_id: int, ids: Sequence[int], target: Mailbox, at: int | None = None) -> None:
    """Expunged messages of a mailbox; with flags of a moment, or those they had at the end."""
    condition, values = tx.among("id", ids)
    # In the mailbox they were in they have been since then, with an interruption (RFC 8514).
    date = None if target.id == mailbox_id else tx.now
    _put(tx, mailbox_id, f"expunged WHERE {condition}", (values,), target, at, date)
    _give_up(tx, ids)


def _give_up(tx: Tx, ids: Sequence[int]) -> None:
    """These expunged messages cannot be brought back any more."""
    if ids:
        past_annotations.forget(tx, *tx.among("p.message_id", ids))
        condition, values = tx.among("id", ids)
        tx.run(f"UPDATE expunged SET expunged_at = NULL WHERE {condition}", (values,))


def _put(
    tx: Tx, mailbox_id: int, rows: str, params: tuple[object, ...], target: Mailbox, at: int | None, date: int | None
) -> list[tuple[int, int]]:
    """Put what `rows` of a mailbox describe into another one or the same: pairs of UIDs there and here.

    `date`: since when they are in it, None for as it was. Annotations come along that are kept with expunged messages.
    """
    count, size = tx.row(_SUMS + rows, params) or (0, 0)
    if not count:
        return []
    modseq = charge(tx, target.user_id, size, count)
    target = get(tx, target.id)
    base = target.uidnext - 1
    had = tx.rows(f"SELECT uid, flags, keywords FROM {rows} ORDER BY save_date, uid", params)
    tx.run(_BACK + rows, (target.id, base, modseq, date, *params))
    copies = [(row[0], uid) for uid, row in enumerate(had, target.uidnext)]
    if at is not None:
        _flag_as_then(tx, mailbox_id, at, target.id, modseq, had, dict(copies))
    numbered = f"SELECT id, row_number() OVER (ORDER BY save_date, uid) AS n FROM {rows}"
    annotating.bring_back(tx, target.id, base, modseq, numbered, params)
    (unseen,) = tx.row(_UNSEEN, (target.id, target.uidnext)) or (0,)
    tx.run(_COUNT, (count, modseq, count, unseen, size, target.id))
    tx.touch(target.user_id, target.id)
    return copies


def _flag_as_then(
    tx: Tx, mailbox_id: int, at: int, target_id: int, modseq: int, had: Sequence[Row], copies: dict[int, int]
) -> None:
    then = past.flags_at(tx, mailbox_id, at, copies)
    groups: dict[tuple[Flags, Flags], list[int]] = {}
    for uid, bits, text in had:
        if uid in then:
            new, words = then[uid]
            groups.setdefault(((bits, text), (new & ~DELETED, words)), []).append(copies[uid])
    flagging.put(tx, target_id, modseq, [(old, new, uids) for (old, new), uids in groups.items()])
