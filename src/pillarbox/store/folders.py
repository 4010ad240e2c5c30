"""An account's mailboxes as somebody who follows all of them knows them, and what is new since a number.

What is kept of a mailbox is small, since there may be ten thousand. Reading what is new of some of them is a few point
reads each; reading all that is new is one walk over the account's rows, for when nobody says where to look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pillarbox.store import metadata
from pillarbox.store.errors import NotFound
from pillarbox.store.metadata import Changed
from pillarbox.store.tx import Tx

_COLUMNS = "id, name, uidvalidity, uidnext, highestmodseq, message_count, unseen_count, coalesce(special_use, '')"
_ALL = f"SELECT {_COLUMNS} FROM mailboxes WHERE user_id = ? ORDER BY name"
_NEWER = f"SELECT {_COLUMNS} FROM mailboxes WHERE user_id = ? AND highestmodseq > ? ORDER BY name"
_ONE = f"SELECT {_COLUMNS} FROM mailboxes WHERE id = ? AND user_id = ?"
_NUMBER = "SELECT modseq FROM users WHERE id = ?"
_SUBSCRIBED = "SELECT name FROM subscriptions WHERE user_id = ?"
# The plus sign keeps the planner on the index of modification numbers: few rows are newer.
_FLAGGED = "SELECT 1 FROM messages WHERE mailbox_id = ? AND modseq > ? AND +uid < ? LIMIT 1"


class Folder(msgspec.Struct, frozen=True, gc=False):
    """A mailbox; counts as of the same moment as its number."""

    id: int
    name: str
    uidvalidity: int
    uidnext: int
    highestmodseq: int
    messages: int
    unseen: int
    special_use: str  # "" for none


class Folders(NamedTuple):
    """All of them, the subscriptions, and the numbers up to which that is true."""

    modseq: int
    server_modseq: int
    folders: list[Folder]
    subscribed: frozenset[str]


class Fresh(NamedTuple):
    """What is new. `flagged`: ids of those with a message that was there before and has changed since.

    `gone`: ids of those that are no more. `subscribed` None: nobody asked.
    """

    modseq: int
    folders: list[Folder]
    flagged: frozenset[int]
    gone: frozenset[int]
    subscribed: frozenset[str] | None
    entries: list[Changed]


def load(tx: Tx, user_id: int) -> Folders:
    """Raises NotFound (no such account)."""
    folders = [Folder(*row) for row in tx.rows(_ALL, (user_id,))]
    return Folders(_number(tx, user_id), metadata.last_of_server(tx), folders, _subscribed(tx, user_id))


def some(
    tx: Tx,
    user_id: int,
    known: Mapping[int, Folder | None],
    since: int,
    since_server: int,
    *,
    subscriptions: bool,
) -> Fresh:
    """What is new of these mailboxes, by what was known of each (None: nothing). Raises NotFound (no such account)."""
    tx.heavy(rows=len(known))
    found, gone = [], []
    for mailbox_id in known:
        row = tx.row(_ONE, (mailbox_id, user_id))
        if row is None:
            gone.append(mailbox_id)
        else:
            found.append(Folder(*row))
    return _fresh(tx, user_id, known, found, frozenset(gone), since, since_server, subscriptions=subscriptions)


def newer(tx: Tx, user_id: int, known: Mapping[int, Folder], since: int, since_server: int) -> Fresh:
    """What is new of all mailboxes. Raises NotFound (no such account)."""
    number = _number(tx, user_id)
    if number < since:  # the database was restored from a copy: nothing that is known holds
        found = [Folder(*row) for row in tx.rows(_ALL, (user_id,))]
        here = {folder.id for folder in found}
    else:
        found = [Folder(*row) for row in tx.rows(_NEWER, (user_id, since))]
        here = {row[0] for row in tx.rows("SELECT id FROM mailboxes WHERE user_id = ?", (user_id,))}
    return _fresh(tx, user_id, known, found, frozenset(known.keys() - here), since, since_server, subscriptions=True)


def _fresh(
    tx: Tx,
    user_id: int,
    known: Mapping[int, Folder | None],
    found: list[Folder],
    gone: frozenset[int],
    since: int,
    since_server: int,
    *,
    subscriptions: bool,
) -> Fresh:
    flagged = frozenset(
        folder.id
        for folder in found
        if (before := known.get(folder.id)) is not None
        and before.highestmodseq < folder.highestmodseq
        and tx.row(_FLAGGED, (folder.id, before.highestmodseq, before.uidnext)) is not None
    )
    return Fresh(
        _number(tx, user_id),
        found,
        flagged,
        gone,
        _subscribed(tx, user_id) if subscriptions else None,
        metadata.changes(tx, user_id, since, since_server),
    )


def numbers(tx: Tx, user_ids: Sequence[int]) -> dict[int, int]:
    """How far each of these accounts is; one that is not there is left out."""
    condition, values = tx.among("id", user_ids)
    return dict(tx.rows(f"SELECT id, modseq FROM users WHERE {condition}", (values,)))


def _number(tx: Tx, user_id: int) -> int:
    row = tx.row(_NUMBER, (user_id,))
    if row is None:
        raise NotFound("no such user")
    return int(row[0])


def _subscribed(tx: Tx, user_id: int) -> frozenset[str]:
    return frozenset(name for (name,) in tx.rows(_SUBSCRIBED, (user_id,)))
