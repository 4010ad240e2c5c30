"""What clients note about single messages (RFC 5257): entries by name, each with octets, everybody's or one account's.

A change stamps the message as a change of its flags does. A removed entry stays as a row without a value as long as
there is room, so that others are told of it. Annotations go with COPY and MOVE, and leave with the message, with which
they may come back (`past_annotations`). Octets are counted with the mailbox, and all mailboxes of an account have a
limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pillarbox.store import past_annotations
from pillarbox.store.errors import Invalid, OverQuota
from pillarbox.store.mailbox_lookup import get
from pillarbox.store.records import Flagged
from pillarbox.store.tx import Tx
from pillarbox.store.views import flagged

MAX_VALUE = 64 * 1024  # octets
MAX_ENTRIES = 100  # of one message, everybody's; and of each account
MAX_OCTETS = 100 << 20  # of all mailboxes of an account: values and names of entries
COMPARED = 2048  # octets of a value that SORT looks at
_PAGE = 500  # rows read at a time, more than an account can see at two messages

_OCTETS = "SELECT coalesce(sum(length(value) + length(entry)), 0) FROM annotations WHERE mailbox_id = ? AND "
_VISIBLE = "mailbox_id = ? AND (user_id IS NULL OR user_id = ?)"
_SEEN = f"SELECT uid, entry, user_id, value FROM annotations WHERE {_VISIBLE}"
_CHANGED = (
    "SELECT uid, entry, modseq FROM annotations WHERE mailbox_id = ? AND modseq > ? "
    "AND (user_id IS NULL OR user_id = ?) ORDER BY modseq, id"
)
_SEARCH = (
    "SELECT uid, entry, user_id, value FROM annotations WHERE mailbox_id = ? AND uid > ? "
    "AND (user_id IS NULL OR user_id = ?) AND value IS NOT NULL ORDER BY uid LIMIT ?"
)
_HELD = "SELECT coalesce(sum(annotation_octets), 0) FROM mailboxes WHERE user_id = ?"
_FLAGGED = "SELECT uid, flags, keywords, modseq FROM messages WHERE mailbox_id = ? AND "
_PUT = (
    "INSERT INTO annotations (mailbox_id, uid, user_id, entry, value, modseq) "
    "SELECT mailbox_id, uid, ?, ?, ?, ? FROM messages WHERE mailbox_id = ? AND "
)
_CARRY = (
    "INSERT INTO annotations (mailbox_id, uid, user_id, entry, value, modseq) "
    "SELECT ?, ?, user_id, entry, value, ? FROM annotations WHERE mailbox_id = ? AND uid = ? AND value IS NOT NULL AND "
)


class TooMany(Invalid):
    """A message has as many entries as it can have."""


class TooLarge(Invalid):
    """A value has more than MAX_VALUE octets."""


class Change(NamedTuple):
    """An entry is to have this value, None to be removed; `shared`: everybody's."""

    entry: str
    shared: bool
    value: bytes | None


class Note(NamedTuple):
    """An entry of a message that has a value."""

    uid: int
    entry: str
    shared: bool
    value: bytes


class Annotated(NamedTuple):
    """`changed`: the messages, with their flags as they are; `refused` failed UNCHANGEDSINCE."""

    modseq: int
    changed: list[Flagged]
    refused: list[int]


class Carried(NamedTuple):
    """What a copy takes along: `shared` entries and the `private` ones of an account, or of everybody (None)."""

    user_id: int | None = None
    shared: bool = True
    private: bool = True


EVERYTHING = Carried()


def of(tx: Tx, mailbox_id: int, user_id: int, uids: Sequence[int], octets: int = 0) -> list[Note]:
    """What an account sees at these messages, in the order of UIDs and entries; `octets`: how much that may be."""
    tx.heavy(rows=len(uids), octets=octets)
    condition, values = tx.among("uid", uids)
    rows = tx.rows(
        f"{_SEEN} AND {condition} AND value IS NOT NULL ORDER BY uid, entry, coalesce(user_id, 0) DESC",
        (mailbox_id, user_id, values),
    )
    return [Note(uid, entry, who is None, bytes(value)) for uid, entry, who, value in rows]


def annotated(tx: Tx, mailbox_id: int, user_id: int, uids: Sequence[int]) -> dict[int, int]:
    """Those of these messages at which an account sees an annotation, and how many octets of them."""
    if not _has_any(tx, mailbox_id):
        return {}
    condition, values = tx.among("uid", uids)
    sql = f"SELECT uid, sum(length(value) + length(entry)) FROM annotations WHERE {_VISIBLE} AND value IS NOT NULL "
    return {
        uid: int(octets)
        for uid, octets in tx.rows(f"{sql} AND {condition} GROUP BY uid", (mailbox_id, user_id, values))
    }


def values(tx: Tx, mailbox_id: int, user_id: int, entry: str, shared: bool) -> dict[int, bytes]:
    """The beginnings of the values of an entry by UID, for SORT. A scan."""
    rows = tx.rows(
        "SELECT uid, substr(value, 1, ?) FROM annotations "
        "WHERE mailbox_id = ? AND coalesce(user_id, 0) = ? AND entry = ? AND value IS NOT NULL",
        (COMPARED, mailbox_id, 0 if shared else user_id, entry),
    )
    return {uid: bytes(value) for uid, value in rows}


def changed(tx: Tx, mailbox_id: int, user_id: int, since: int) -> list[tuple[int, str, int]]:
    """Entries that an account sees and that were set or removed after a modification number: UID, entry, number."""
    return [(uid, entry, modseq) for uid, entry, modseq in tx.rows(_CHANGED, (mailbox_id, since, user_id))]


def found(tx: Tx, mailbox_id: int, user_id: int, test: Callable[[Note], bool]) -> set[int]:
    """UIDs of messages of which an account sees an annotation that the test is for. A scan."""
    uids: set[int] = set()
    last = 0
    while rows := tx.rows(_SEARCH, (mailbox_id, last, user_id, _PAGE)):
        for uid, entry, who, value in rows:
            if uid not in uids and test(Note(uid, entry, who is None, bytes(value))):
                uids.add(uid)
        # The last message of a full page may go on: it is looked at again.
        last = rows[-1][0] - (len(rows) == _PAGE)
    return uids


def store(
    tx: Tx,
    mailbox_id: int,
    user_id: int,
    uids: Sequence[int],
    changes: Sequence[Change],
    unchanged_since: int | None = None,
) -> Annotated:
    """Change entries of these messages, all or none; UIDs that are not there are passed over.

    With `unchanged_since` a message changed later is refused. Raises NotFound, TooLarge, TooMany, OverQuota.
    """
    mailbox = get(tx, mailbox_id)
    tx.lock([mailbox.user_id])
    condition, values = tx.among("uid", uids)
    rows = tx.rows(f"{_FLAGGED}{condition} ORDER BY uid", (mailbox_id, values))
    refused = [row[0] for row in rows if unchanged_since is not None and row[3] > unchanged_since]
    rows = [row for row in rows if unchanged_since is None or row[3] <= unchanged_since]
    wanted = [row[0] for row in rows]
    if not wanted or not changes:
        return Annotated(get(tx, mailbox_id).highestmodseq, [], refused)
    modseq = tx.next_modseq(mailbox.user_id)
    condition, values = tx.among("uid", wanted)
    tx.run(f"UPDATE messages SET modseq = ? WHERE mailbox_id = ? AND {condition}", (modseq, mailbox_id, values))
    tx.run("UPDATE mailboxes SET highestmodseq = ? WHERE id = ?", (modseq, mailbox_id))
    put(tx, mailbox_id, mailbox.user_id, user_id, wanted, changes, modseq)
    tx.touch(mailbox.user_id, mailbox_id)
    return Annotated(modseq, flagged((*row[:3], modseq) for row in rows), refused)


def put(
    tx: Tx, mailbox_id: int, owner_id: int, user_id: int, uids: Sequence[int], changes: Sequence[Change], modseq: int
) -> None:
    """Change entries of messages that have this modification number already. Raises TooLarge, TooMany, OverQuota."""
    if any(len(one.value or b"") > MAX_VALUE for one in changes):
        raise TooLarge(f"a value has at most {MAX_VALUE} octets")
    last = {(entry, shared): value for entry, shared, value in changes}
    each = sum(len(entry) + len(value) for (entry, _), value in last.items() if value is not None)
    if each * len(uids) > MAX_OCTETS:  # a small command could write for hours before that is counted
        raise OverQuota(f"annotations of an account have at most {MAX_OCTETS} octets")
    condition, values = tx.among("uid", uids)
    before = _octets(tx, mailbox_id, condition, values)
    for (entry, shared), value in last.items():
        who = None if shared else user_id
        same = f"mailbox_id = ? AND {condition} AND coalesce(user_id, 0) = ? AND entry = ?"
        key = (mailbox_id, values, who or 0, entry)
        if value is None:
            tx.run(
                f"UPDATE annotations SET value = NULL, modseq = ? WHERE {same} AND value IS NOT NULL", (modseq, *key)
            )
            continue
        tx.run(f"DELETE FROM annotations WHERE {same}", key)
        tx.run(_PUT + condition, (who, entry, value, modseq, mailbox_id, values))
    _limit(tx, mailbox_id, condition, values, modseq)
    _count(tx, mailbox_id, owner_id, _octets(tx, mailbox_id, condition, values) - before)


def carry(
    tx: Tx,
    source_id: int,
    target_id: int,
    owner_id: int,
    pairs: Sequence[tuple[int, int]],
    modseq: int,
    what: Carried,
    *,
    beyond: bool = False,
) -> None:
    """Copy the annotations of messages to their copies: pairs of UIDs there and here. `owner_id`: whose mailbox the
    copies are in; `beyond`: whatever its limit is. Raises OverQuota."""
    kinds = ["user_id IS NULL"] * what.shared
    if what.private:
        kinds.append("user_id IS NOT NULL" if what.user_id is None else f"user_id = {int(what.user_id)}")
    if not kinds or not _has_any(tx, source_id):
        return
    chosen = f"({' OR '.join(kinds)})"
    copies = dict(pairs)
    condition, values = tx.among("uid", list(copies))
    rows = tx.rows(
        f"SELECT DISTINCT uid FROM annotations WHERE mailbox_id = ? AND value IS NOT NULL AND {condition} AND {chosen}",
        (source_id, values),
    )
    if not rows:
        return
    tx.many(_CARRY + chosen, [(target_id, copies[uid], modseq, source_id, uid) for (uid,) in rows])
    condition, values = tx.among("uid", [copies[uid] for (uid,) in rows])
    _count(tx, target_id, owner_id, _octets(tx, target_id, condition, values), beyond=beyond)


def remove(tx: Tx, mailbox_id: int, owner_id: int, where: str, params: tuple[object, ...]) -> None:
    """The messages of this mailbox for which a condition is true go: so do their annotations, until they come back."""
    if not _has_any(tx, mailbox_id):
        return
    uids = f"uid IN (SELECT uid FROM messages WHERE {where})"
    (octets,) = tx.row(_OCTETS + uids, (mailbox_id, *params)) or (0,)
    past_annotations.keep(tx, mailbox_id, owner_id, where, params, octets=octets, limit=MAX_OCTETS)
    tx.run(f"DELETE FROM annotations WHERE mailbox_id = ? AND {uids}", (mailbox_id, *params))
    _count(tx, mailbox_id, 0, -octets)


def bring_back(tx: Tx, target_id: int, base: int, modseq: int, numbered: str, params: tuple[object, ...]) -> None:
    """Those of expunged messages that came back, see `past_annotations.bring_back`; whatever the limit is."""
    octets = past_annotations.bring_back(tx, target_id, base, modseq, numbered, params)
    _count(tx, target_id, 0, octets, beyond=True)


def forget_user(tx: Tx, user_id: int) -> None:
    """Remove what an account has noted for itself, in the mailboxes of others too."""
    past_annotations.forget_user(tx, user_id)
    rows = tx.rows(
        "SELECT mailbox_id, coalesce(sum(length(value) + length(entry)), 0) FROM annotations WHERE user_id = ? "
        "GROUP BY mailbox_id",
        (user_id,),
    )
    tx.run("DELETE FROM annotations WHERE user_id = ?", (user_id,))
    for mailbox_id, octets in rows:
        _count(tx, mailbox_id, 0, -octets)


def _has_any(tx: Tx, mailbox_id: int) -> bool:
    return tx.row("SELECT 1 FROM annotations WHERE mailbox_id = ? LIMIT 1", (mailbox_id,)) is not None


def _octets(tx: Tx, mailbox_id: int, condition: str, values: object) -> int:
    (octets,) = tx.row(_OCTETS + condition, (mailbox_id, values)) or (0,)
    return int(octets)


def _limit(tx: Tx, mailbox_id: int, condition: str, values: object, modseq: int) -> None:
    """Raises TooMany; forgets older removals where there are too many of them."""
    counted = f"FROM annotations WHERE mailbox_id = ? AND {condition}"
    over = tx.row(
        f"SELECT uid {counted} AND value IS NOT NULL GROUP BY uid, coalesce(user_id, 0) HAVING count(*) > ? LIMIT 1",
        (mailbox_id, values, MAX_ENTRIES),
    )
    if over is not None:
        raise TooMany(f"a message has at most {MAX_ENTRIES} annotations")
    tx.run(
        "DELETE FROM annotations WHERE mailbox_id = ? AND value IS NULL AND modseq < ? AND uid IN "
        f"(SELECT uid {counted} AND value IS NULL GROUP BY uid HAVING count(*) > ?)",
        (mailbox_id, modseq, mailbox_id, values, MAX_ENTRIES),
    )


def _count(tx: Tx, mailbox_id: int, owner_id: int, octets: int, *, beyond: bool = False) -> None:
    if not octets:
        return
    tx.run("UPDATE mailboxes SET annotation_octets = annotation_octets + ? WHERE id = ?", (octets, mailbox_id))
    if octets < 0 or beyond:
        return
    (all_of_them,) = tx.row(_HELD, (owner_id,)) or (0,)
    if all_of_them > MAX_OCTETS:
        raise OverQuota(f"annotations of an account have at most {MAX_OCTETS} octets")
