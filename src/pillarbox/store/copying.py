"""COPY, MOVE and EXPUNGE: small rows in one statement each, however many messages (RFC 9051 section 6.4, RFC 6851).

An expunged message leaves its row's id, blob and prefix in `expunged`: QRESYNC tells of it (RFC 7162), a session that
was not told yet can still fetch it, and with flags and dates it can be brought back (`undelete`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.store import annotating, quota
from pillarbox.store.annotating import EVERYTHING, Carried
from pillarbox.store.mailbox_lookup import Held, get, held
from pillarbox.store.records import Copied, Expunged, Mailbox
from pillarbox.store.tx import Tx

HISTORY = 100_000  # expunges a mailbox remembers

_COPY = (
    "INSERT INTO messages (mailbox_id, uid, blob_id, flags, keywords, modseq, internal_date, save_date, size, prefix) "
    "SELECT ?, ? + row_number() OVER (ORDER BY uid), blob_id, flags, keywords, ?, internal_date, ?, size, prefix "
    "FROM messages WHERE "
)
_DELETED = "mailbox_id = ? AND (flags & 8) <> 0"
_FRESH = "SELECT id FROM expunged WHERE fresh = 1 AND blob_id IS NOT NULL"
_SUMS = (
    "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(CASE WHEN flags & 1 = 0 THEN 1 ELSE 0 END), 0), "
    "coalesce(sum(CASE WHEN flags & 8 <> 0 THEN 1 ELSE 0 END), 0) FROM messages WHERE "
)


def expunge(tx: Tx, mailbox_id: int, uids: Sequence[int] | None = None) -> Expunged:
    """Remove the messages with \\Deleted: all of them, or those among `uids` (UID EXPUNGE, RFC 4315).

    Raises NotFound.
    """
    mailbox = held(tx, mailbox_id)  # so that a condition is true of the same messages in each statement
    before = mailbox.highestmodseq
    where = _DELETED
    params: tuple[object, ...] = (mailbox_id,)
    if uids is not None:
        condition, values = tx.among("uid", uids)
        where, params = f"{_DELETED} AND {condition}", (mailbox_id, values)
    gone = [row[0] for row in tx.rows(f"SELECT uid FROM messages WHERE {where} ORDER BY uid", params)]
    if not gone:
        return Expunged([], before, before)
    return Expunged(gone, before, _remove(tx, mailbox, where, params))


def copy(tx: Tx, mailbox_id: int, uids: Sequence[int], target_mailbox_id: int, carried: Carried = EVERYTHING) -> Copied:
    """Copy messages, flags and dates with them, into a mailbox (also the same one). UIDs not there are passed over.

    `carried`: which of their annotations go along. Raises NotFound, OverQuota.
    """
    source, target = _both(tx, mailbox_id, target_mailbox_id)
    condition, values = tx.among("uid", uids)
    return _copy(tx, source, target, condition, values, carried, charge=True)


def move(tx: Tx, mailbox_id: int, uids: Sequence[int], target_mailbox_id: int, carried: Carried = EVERYTHING) -> Copied:
    """Copy, then remove from the source, whatever their flags; `modseq` is the source's. Raises NotFound, OverQuota."""
    source, target = _both(tx, mailbox_id, target_mailbox_id)
    condition, values = tx.among("uid", uids)
    return _move(tx, source, target, condition, values, carried)


def move_all(tx: Tx, mailbox_id: int, target_mailbox_id: int) -> Copied:
    """Move every message (RENAME of INBOX). Raises NotFound, OverQuota."""
    source, target = _both(tx, mailbox_id, target_mailbox_id)
    return _move(tx, source, target, "uid > ?", 0, EVERYTHING)


def trim_history(tx: Tx, mailbox_id: int, keep: int = HISTORY) -> int:
    """Forget all but about the last `keep` expunges of a mailbox; how many. Older clients must compare every UID
    then. Messages that can still be brought back stay.
    """
    row = tx.row(
        "SELECT modseq FROM expunged WHERE mailbox_id = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?", (mailbox_id, keep)
    )
    if row is None:
        return 0
    tx.run("UPDATE mailboxes SET history_from = ? WHERE id = ? AND history_from < ?", (row[0], mailbox_id, row[0]))
    return tx.run(
        "DELETE FROM expunged WHERE mailbox_id = ? AND modseq <= ? AND expunged_at IS NULL", (mailbox_id, row[0])
    )


def settle(tx: Tx, limit: int = 1000) -> int:
    """Put what was expunged of late among the rest, in the index by blob; at most so many, and how many.

    There each touches a page of its own, in a store that keeps many: nobody's EXPUNGE waits for that.
    """
    return tx.run(f"UPDATE expunged SET fresh = 0 WHERE id IN ({_FRESH} LIMIT ?)", (limit,))


def long_histories(tx: Tx, keep: int = HISTORY) -> list[int]:
    """Mailboxes that remember more than `keep` expunges, for `trim_history`. Reads the whole index: a scan."""
    return [
        row[0] for row in tx.rows("SELECT mailbox_id FROM expunged GROUP BY mailbox_id HAVING count(*) > ?", (keep,))
    ]


def _both(tx: Tx, source_id: int, target_id: int) -> tuple[Mailbox, Mailbox]:
    source, target = get(tx, source_id), get(tx, target_id)
    tx.lock({source.user_id, target.user_id})
    return get(tx, source_id), get(tx, target_id)


def _copy(
    tx: Tx, source: Mailbox, target: Mailbox, condition: str, values: object, carried: Carried, *, charge: bool
) -> Copied:
    where = f"mailbox_id = ? AND {condition}"
    count, size, unseen, deleted = tx.row(_SUMS + where, (source.id, values)) or (0, 0, 0, 0)
    if not count:
        return Copied(target.uidvalidity, [], target.highestmodseq)
    uids = [row[0] for row in tx.rows(f"SELECT uid FROM messages WHERE {where} ORDER BY uid", (source.id, values))]
    modseq = quota.charge(tx, target.user_id, size, count) if charge else tx.next_modseq(target.user_id)
    tx.run(_COPY + where, (target.id, target.uidnext - 1, modseq, tx.now, source.id, values))
    tx.run(
        "UPDATE mailboxes SET uidnext = uidnext + ?, highestmodseq = ?, message_count = message_count + ?, "
        "unseen_count = unseen_count + ?, deleted_count = deleted_count + ?, total_size = total_size + ? WHERE id = ?",
        (count, modseq, count, unseen, deleted, size, target.id),
    )
    tx.touch(target.user_id, target.id)
    pairs = list(zip(uids, range(target.uidnext, target.uidnext + count), strict=True))
    annotating.carry(tx, source.id, target.id, target.user_id, pairs, modseq, carried, beyond=not charge)
    return Copied(target.uidvalidity, pairs, modseq)


def _move(tx: Tx, source: Mailbox, target: Mailbox, condition: str, values: object, carried: Carried) -> Copied:
    where = f"mailbox_id = ? AND {condition}"
    ids = [row[0] for row in tx.rows(f"SELECT id FROM messages WHERE {where}", (source.id, values))]
    # Within one account a move changes nothing of what is used: a full account can still tidy up.
    copied = _copy(tx, source, target, condition, values, carried, charge=source.user_id != target.user_id)
    if not ids:
        return Copied(target.uidvalidity, [], source.highestmodseq)
    condition, values = tx.among("id", ids)
    modseq = _remove(tx, source, condition, (values,), moved=True, uncharge=source.user_id != target.user_id)
    return Copied(copied.uidvalidity, copied.uids, modseq)


def _remove(
    tx: Tx,
    mailbox: Held | Mailbox,
    where: str,
    params: tuple[object, ...],
    *,
    moved: bool = False,
    uncharge: bool = True,
) -> int:
    """Take the messages for which a condition is true out of a mailbox into its history; the modification number of
    it."""
    count, size, unseen, deleted = tx.row(_SUMS + where, params) or (0, 0, 0, 0)
    modseq = tx.next_modseq(mailbox.user_id)
    tx.run(
        "INSERT INTO expunged (id, mailbox_id, uid, modseq, blob_id, size, prefix, flags, keywords, internal_date, "
        "save_date, expunged_at, moved, fresh) SELECT id, mailbox_id, uid, ?, blob_id, size, prefix, flags, keywords, "
        f"internal_date, save_date, ?, ?, 1 FROM messages WHERE {where}",
        (modseq, tx.now, int(moved), *params),
    )
    annotating.remove(tx, mailbox.id, mailbox.user_id, where, params)
    tx.run(f"DELETE FROM messages WHERE {where}", params)
    tx.run(
        "UPDATE mailboxes SET highestmodseq = ?, message_count = message_count - ?, unseen_count = unseen_count - ?, "
        "deleted_count = deleted_count - ?, total_size = total_size - ? WHERE id = ?",
        (modseq, count, unseen, deleted, size, mailbox.id),
    )
    if uncharge:
        tx.run("UPDATE users SET quota_used = quota_used - ? WHERE id = ?", (size, mailbox.user_id))
    tx.touch(mailbox.user_id, mailbox.id)
    return modseq
