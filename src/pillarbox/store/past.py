"""What a mailbox was at a moment: the flags its messages had, and its name (`undelete` brings that back).

A change of flags leaves one row for all messages that had the same flags before, a rename one for each mailbox; both
with the second up to which it was so. A moment is the end of its second. Changes of one second that find the same flags
share a row: a client that marks one message after the other writes two pages less for each. A job forgets what is older
than can be brought back; of a mailbox that changes without end, the oldest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from pillarbox.store.tx import Tx

KEPT = 100_000  # changes of a mailbox
OCTETS_KEPT = 64 << 20  # of the sets of UIDs in them
_PAGE = 100  # rows read at a time: each may name many messages
_SHARED = 512  # octets of a set of UIDs from which on it is not made longer

_NOTE = "INSERT INTO past_flags (mailbox_id, uids, flags, keywords, until) VALUES (?, ?, ?, ?, ?)"
# Only if it is the very last row: what earlier ones of that second say of the same messages was so before.
_ALSO = (
    "UPDATE past_flags SET uids = uids || ',' || ? WHERE id = (SELECT max(id) FROM past_flags) "
    f"AND mailbox_id = ? AND flags = ? AND keywords = ? AND until = ? AND length(uids) < {_SHARED}"
)
_LATER = (
    "SELECT id, uids, flags, keywords, until FROM past_flags WHERE mailbox_id = ? AND (until, id) > (?, ?) "
    f"ORDER BY until, id LIMIT {_PAGE}"
)
_RENAMED = "INSERT INTO past_names (mailbox_id, name, until) SELECT id, name, ? FROM mailboxes WHERE user_id = ? AND "
_OWNED = (
    "SELECT id, name, deleted_at FROM mailboxes WHERE user_id = ? AND created_at <= ? UNION ALL "
    "SELECT id, name, deleted_at FROM mailboxes WHERE deleted_owner = ? AND created_at <= ? AND deleted_at > ?"
)
_NAMES = (
    "SELECT n.mailbox_id, n.name FROM past_names n JOIN mailboxes m ON m.id = n.mailbox_id "
    "WHERE (m.user_id = ? OR m.deleted_owner = ?) AND n.until > ? ORDER BY n.until DESC, n.id DESC"
)

Flags = tuple[int, str]  # bits, and keywords as one text


class Named(NamedTuple):
    """A mailbox by the name it had at a moment; `deleted`: it is by now."""

    id: int
    name: str
    deleted: bool


def note_flags(tx: Tx, mailbox_id: int, before: Iterable[tuple[Flags, Sequence[int]]]) -> None:
    """Messages (ascending UIDs) had these flags until now."""
    rows = [(mailbox_id, _joined(uids), bits, text, tx.now) for (bits, text), uids in before]
    if len(rows) == 1:
        mailbox, some, *same = rows[0]
        if tx.run(_ALSO, (some, mailbox, *same)):
            return
    tx.many(_NOTE, rows)


def flags_at(tx: Tx, mailbox_id: int, at: int, uids: Iterable[int]) -> dict[int, Flags]:
    """What these messages had at a moment, where that was changed since."""
    found: dict[int, Flags] = {}
    left = set(uids)
    until, last = at, 1 << 62  # of that second nothing
    while left and (rows := tx.rows(_LATER, (mailbox_id, until, last))):
        for _, text, bits, keywords, _ in rows:
            for first, end in _ranges(text):
                few = end - first < len(left)
                some = left.intersection(range(first, end + 1)) if few else {uid for uid in left if first <= uid <= end}
                left -= some
                found.update(dict.fromkeys(some, (bits, keywords)))
        last, *_, until = rows[-1]
    return found


def note_names(tx: Tx, user_id: int, condition: str, values: Sequence[object]) -> None:
    """Mailboxes of an account for which a condition is true have their names until now."""
    tx.run(_RENAMED + condition, (tx.now, user_id, *values))


def mailboxes_at(tx: Tx, user_id: int, at: int) -> list[Named]:
    """An account's mailboxes at a moment that are there or can be brought back, by the names they had. A scan."""
    names: dict[int, str] = {}
    names.update(tx.rows(_NAMES, (user_id, user_id, at)))  # the earliest later one comes last, and stays
    boxes = [
        Named(mailbox_id, names.get(mailbox_id) or name, deleted_at is not None)
        for mailbox_id, name, deleted_at in tx.rows(_OWNED, (user_id, at, user_id, at, at))
    ]
    return sorted(boxes, key=lambda box: box.name)


def forget(tx: Tx, before: int, limit: int = 1000) -> int:
    """Give up at most `limit` rows of each kind from before a time; how many."""
    done = 0
    for table in ("past_flags", "past_names"):
        # Rows come in the order of time, or nearly so: the first ones tell without an index of their own.
        oldest = f"SELECT id, until FROM {table} ORDER BY id LIMIT {limit}"
        done += tx.run(f"DELETE FROM {table} WHERE id IN (SELECT id FROM ({oldest}) AS o WHERE until < ?)", (before,))
    return done


def restless(tx: Tx) -> list[int]:
    """Mailboxes of which too much is remembered, for `trim`. Reads all of it: a scan."""
    flags = "SELECT mailbox_id FROM past_flags GROUP BY mailbox_id HAVING count(*) > ? OR sum(length(uids)) > ?"
    names = "SELECT mailbox_id FROM past_names GROUP BY mailbox_id HAVING count(*) > ?"
    return [row[0] for row in tx.rows(f"{flags} UNION {names}", (KEPT, OCTETS_KEPT, KEPT))]


def trim(tx: Tx, mailbox_id: int) -> int:
    """Forget the oldest of what is remembered of a mailbox, so that it is not too much; how many."""
    done = 0
    for table, octets in (("past_flags", "length(uids)"), ("past_names", "0")):
        row = tx.row(
            f"SELECT max(until) FROM (SELECT until, row_number() OVER latest AS number, sum({octets}) OVER latest "
            f"AS octets FROM {table} WHERE mailbox_id = ? WINDOW latest AS (ORDER BY until DESC, id DESC)) AS known "
            "WHERE number > ? OR octets > ?",
            (mailbox_id, KEPT, OCTETS_KEPT),
        )
        if row is not None and row[0] is not None:
            done += tx.run(f"DELETE FROM {table} WHERE mailbox_id = ? AND until <= ?", (mailbox_id, row[0]))
    return done


def _joined(uids: Sequence[int]) -> str:
    """Ascending UIDs as a sequence set: "1:100,105"."""
    if uids[-1] - uids[0] == len(uids) - 1:
        return f"{uids[0]}:{uids[-1]}"
    ends = [at for at, (one, other) in enumerate(pairwise(uids), 1) if other != one + 1]
    return ",".join(f"{uids[start]}:{uids[end - 1]}" for start, end in pairwise((0, *ends, len(uids))))


def _ranges(text: str) -> Iterable[tuple[int, int]]:
    for part in text.split(","):
        first, _, end = part.partition(":")
        yield int(first), int(end)
