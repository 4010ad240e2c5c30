"""Finding mailboxes: one, by name or id, or all of an account."""

from __future__ import annotations

from typing import Any, NamedTuple

from pillarbox.store.errors import Invalid, NotFound
from pillarbox.store.mailbox_names import normalised
from pillarbox.store.records import Mailbox
from pillarbox.store.tx import Row, Tx

COLUMNS = (
    "m.id, m.user_id, m.name, m.uidvalidity, m.uidnext, m.highestmodseq, m.history_from, "
    "EXISTS (SELECT 1 FROM subscriptions s WHERE s.user_id = m.user_id AND s.name = m.name), "
    "m.special_use, m.first_recent_uid, m.message_count, m.unseen_count, m.deleted_count, m.total_size, m.created_at"
)
_BY_ID = f"SELECT {COLUMNS} FROM mailboxes m WHERE m.id = ? AND m.deleted_at IS NULL"
_MOMENT = "SELECT uidvalidity, highestmodseq, uidnext FROM mailboxes WHERE id = ? AND deleted_at IS NULL"
_HELD = "SELECT id, user_id, highestmodseq FROM mailboxes WHERE id = ? AND deleted_at IS NULL"
_BY_NAME = f"SELECT {COLUMNS} FROM mailboxes m WHERE m.user_id = ? AND m.name = ?"
_OF_USER = f"SELECT {COLUMNS} FROM mailboxes m WHERE m.user_id = ? ORDER BY m.name"


class Held(NamedTuple):
    """What a change of messages needs of their mailbox."""

    id: int
    user_id: int
    highestmodseq: int


def mailbox_of(row: Row) -> Mailbox:
    """The record for a row of COLUMNS."""
    values: list[Any] = [*row]
    values[7] = bool(row[7])
    return Mailbox(*values)


def get(tx: Tx, mailbox_id: int) -> Mailbox:
    """Raises NotFound."""
    row = tx.row(_BY_ID, (mailbox_id,))
    if row is None:
        raise NotFound("no such mailbox")
    return mailbox_of(row)


def held(tx: Tx, mailbox_id: int) -> Held:
    """A mailbox with its account held against other writers until the end of the transaction. Raises NotFound."""
    row = tx.row(_HELD, (mailbox_id,))
    if row is not None and tx.engine != "sqlite":  # there is one writer at a time: it is as it was
        tx.lock([row[1]])
        row = tx.row(_HELD, (mailbox_id,))
    if row is None:
        raise NotFound("no such mailbox")
    return Held(*row)


def moment(tx: Tx, mailbox_id: int) -> tuple[int, int, int]:
    """UIDVALIDITY, HIGHESTMODSEQ and UIDNEXT: whether a view is still true. Raises NotFound."""
    row = tx.row(_MOMENT, (mailbox_id,))
    if row is None:
        raise NotFound("no such mailbox")
    return row[0], row[1], row[2]


def find(tx: Tx, user_id: int, name: str) -> Mailbox | None:
    """The mailbox of this name, INBOX in any spelling; None also for names that cannot be."""
    try:
        row = tx.row(_BY_NAME, (user_id, normalised(name)))
    except Invalid:
        return None
    return None if row is None else mailbox_of(row)


def status(tx: Tx, user_id: int, name: str) -> Mailbox:
    """`find` that raises NotFound."""
    found = find(tx, user_id, name)
    if found is None:
        raise NotFound("no such mailbox")
    return found


def list_mailboxes(tx: Tx, user_id: int) -> list[Mailbox]:
    """All mailboxes of an account, by name. A parent that was deleted from above its children is not among them."""
    return [mailbox_of(row) for row in tx.rows(_OF_USER, (user_id,))]
