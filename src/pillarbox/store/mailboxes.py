"""Mailboxes of an account: made, found, listed, renamed, deleted, subscribed to (RFC 9051 section 6.3).

Names come as the client meant them (decoded) and are brought into their stored form here. Every change is stamped with
the account's next modification number.
"""

from __future__ import annotations

from pillarbox.store import copying, past, quota
from pillarbox.store.errors import Conflict, Invalid
from pillarbox.store.mailbox_lookup import find, get, list_mailboxes, moment, status
from pillarbox.store.mailbox_names import DELIMITER, INBOX, new_name, normalised, parents
from pillarbox.store.records import Mailbox
from pillarbox.store.tx import Tx

__all__ = [
    "create",
    "delete",
    "ensure_inbox",
    "find",
    "get",
    "list_mailboxes",
    "make_parents",
    "moment",
    "new_uidvalidity",
    "purge_deleted",
    "rename",
    "require_room",
    "set_special_use",
    "status",
    "subscribe",
    "subscriptions",
    "unsubscribe",
]

MAX_MAILBOXES = 10_000  # an account may have

_NEXT_UIDVALIDITY = (
    "UPDATE store_counters SET value = CASE WHEN value < ? THEN ? ELSE value + 1 END WHERE id = 2 RETURNING value"
)
_INSERT = (
    "INSERT INTO mailboxes (user_id, name, uidvalidity, highestmodseq, history_from, special_use, created_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_BELOW = "user_id = ? AND substr(name, 1, ?) = ?"


def create(tx: Tx, user_id: int, name: str, special_use: str | None = None) -> Mailbox:
    """Make a mailbox, and those above it that are not there. `special_use`: "\\Sent" etc. (RFC 6154).

    Raises Conflict (there is one), Invalid, NotFound (no such user).
    """
    name = new_name(name)
    tx.lock([user_id])
    if find(tx, user_id, name) is not None:
        raise Conflict("a mailbox of that name exists")
    modseq = tx.next_modseq(user_id)
    make_parents(tx, user_id, name, modseq)
    require_room(tx, user_id)
    return get(tx, _make(tx, user_id, name, modseq, special_use))


def ensure_inbox(tx: Tx, user_id: int) -> int:
    """The id of the account's INBOX, made when it is not there. Raises NotFound (no such user)."""
    row = tx.row("SELECT id FROM mailboxes WHERE user_id = ? AND name = ?", (user_id, INBOX))
    return row[0] if row else _make(tx, user_id, INBOX, tx.next_modseq(user_id), None)


def rename(tx: Tx, user_id: int, old: str, new: str) -> Mailbox:
    """Rename a mailbox and all below it; subscriptions follow. INBOX stays and only loses its messages.

    (RFC 9051 section 6.3.6.) Raises NotFound, Conflict (there is one of the new name), Invalid.
    """
    old, new = normalised(old), new_name(new)
    tx.lock([user_id])
    mailbox = status(tx, user_id, old)
    if find(tx, user_id, new) is not None:
        raise Conflict("a mailbox of that name exists")
    if old == INBOX:
        target = create(tx, user_id, new)
        copying.move_all(tx, mailbox.id, target.id)
        return get(tx, target.id)
    if new.startswith(old + DELIMITER):
        raise Invalid("a mailbox cannot be put below itself")
    modseq = tx.next_modseq(user_id)
    make_parents(tx, user_id, new, modseq)
    below = old + DELIMITER
    past.note_names(tx, user_id, "(name = ? OR substr(name, 1, ?) = ?)", (old, len(below), below))
    for table, stamp in (("mailboxes", ", highestmodseq = ?"), ("subscriptions", "")):
        stamped = (modseq,) if stamp else ()
        named = tx.run(
            f"UPDATE {table} SET name = ?{stamp} WHERE user_id = ? AND name = ?", (new, *stamped, user_id, old)
        )
        named += tx.run(
            f"UPDATE {table} SET name = ? || substr(name, ?){stamp} WHERE {_BELOW}",
            (new, len(old) + 1, *stamped, user_id, len(below), below),
        )
        if named and not stamp:
            tx.touch(user_id, 0)
    tx.touch(user_id, mailbox.id)
    return get(tx, mailbox.id)


def delete(tx: Tx, user_id: int, name: str) -> int:
    """Delete a mailbox and its messages; those below it stay. Its id, for sessions that have it open.

    The rows go later, page by page (`purge_deleted`); so long it can be brought back (`undelete.revive`). Raises
    NotFound, Invalid (INBOX).
    """
    if normalised(name) == INBOX:
        raise Invalid("INBOX cannot be deleted")
    tx.lock([user_id])
    mailbox = status(tx, user_id, name)
    tx.next_modseq(user_id)
    tx.run("UPDATE users SET quota_used = quota_used - ? WHERE id = ?", (mailbox.total_size, user_id))
    tx.run(
        "UPDATE mailboxes SET user_id = NULL, deleted_owner = ?, deleted_at = ? WHERE id = ?",
        (user_id, tx.now, mailbox.id),
    )
    tx.touch(user_id, mailbox.id)
    return mailbox.id


def set_special_use(tx: Tx, user_id: int, name: str, special_use: str | None) -> None:
    """Raises NotFound."""
    tx.lock([user_id])
    mailbox = status(tx, user_id, name)
    modseq = tx.next_modseq(user_id)
    tx.run("UPDATE mailboxes SET special_use = ?, highestmodseq = ? WHERE id = ?", (special_use, modseq, mailbox.id))
    tx.touch(user_id, mailbox.id)


def subscribe(tx: Tx, user_id: int, name: str) -> None:
    """Subscribe to a name, whether there is such a mailbox or not. Raises Invalid."""
    tx.lock([user_id])
    made = tx.run(
        "INSERT INTO subscriptions (user_id, name) VALUES (?, ?) ON CONFLICT (user_id, name) DO NOTHING",
        (user_id, normalised(name)),
    )
    _tell_subscriptions(tx, user_id, made)


def unsubscribe(tx: Tx, user_id: int, name: str) -> None:
    tx.lock([user_id])
    gone = tx.run("DELETE FROM subscriptions WHERE user_id = ? AND name = ?", (user_id, normalised(name)))
    _tell_subscriptions(tx, user_id, gone)


def _tell_subscriptions(tx: Tx, user_id: int, changed: int) -> None:
    """A change of subscriptions has a number of the account too: whoever missed the hint finds it."""
    if changed:
        tx.next_modseq(user_id)
        tx.touch(user_id, 0)


def subscriptions(tx: Tx, user_id: int) -> list[str]:
    """Every subscribed name, in order."""
    return [row[0] for row in tx.rows("SELECT name FROM subscriptions WHERE user_id = ? ORDER BY name", (user_id,))]


def purge_deleted(tx: Tx, limit: int = 1000, before: int | None = None) -> int:
    """Remove up to `limit` rows of deleted mailboxes; how many. To be called until it gives 0.

    With `before` those deleted from then on stay, unless their account is gone too.
    """
    row = tx.row(
        "SELECT id FROM mailboxes WHERE deleted_at IS NOT NULL AND (deleted_at < ? OR deleted_owner IS NULL) "
        "ORDER BY deleted_at LIMIT 1",
        (tx.now + 1 if before is None else before,),
    )
    if row is None:
        return 0
    # A mailbox of which rows are gone must not be brought back.
    tx.run("UPDATE mailboxes SET deleted_owner = NULL WHERE id = ? AND deleted_owner IS NOT NULL", (row[0],))
    for table in ("annotations", "past_annotations", "past_flags", "past_names", "summaries", "messages", "expunged"):
        gone = tx.run(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE mailbox_id = ? LIMIT ?)", (row[0], limit)
        )
        if gone:
            return gone
    return tx.run("DELETE FROM mailboxes WHERE id = ?", (row[0],))


def new_uidvalidity(tx: Tx) -> int:
    """One that no mailbox has or had: from now on it means something else by its UIDs."""
    (uidvalidity,) = tx.row(_NEXT_UIDVALIDITY, (tx.now, tx.now)) or (0,)
    return int(uidvalidity)


def require_room(tx: Tx, user_id: int) -> None:
    """Raises Conflict when the account has as many mailboxes as there can be, OverQuota when it has its own limit."""
    (count,) = tx.row("SELECT count(*) FROM mailboxes WHERE user_id = ?", (user_id,)) or (0,)
    if count >= MAX_MAILBOXES:
        raise Conflict(f"an account has at most {MAX_MAILBOXES} mailboxes")
    quota.require_mailboxes(tx, user_id)


def _make(tx: Tx, user_id: int, name: str, modseq: int, special_use: str | None) -> int:
    uidvalidity = new_uidvalidity(tx)
    mailbox_id = tx.insert(_INSERT, (user_id, name, uidvalidity, modseq, modseq, special_use, tx.now))
    tx.touch(user_id, mailbox_id)
    return mailbox_id


def make_parents(tx: Tx, user_id: int, name: str, modseq: int) -> None:
    """Make the mailboxes above this name that are not there. Raises as `require_room`."""
    for parent in parents(name):
        if tx.row("SELECT 1 FROM mailboxes WHERE user_id = ? AND name = ?", (user_id, parent)) is None:
            require_room(tx, user_id)
            _make(tx, user_id, parent, modseq, None)
