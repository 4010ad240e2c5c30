"""Reading a mailbox: the view a session holds, what changed since, and what was rendered at delivery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pillarbox.store import view_blocks
from pillarbox.store.errors import Corrupt
from pillarbox.store.flags import split_keywords
from pillarbox.store.mailbox_lookup import get
from pillarbox.store.records import Changes, Flagged, MessageRow, Rendered, View
from pillarbox.store.summaries import SHORT
from pillarbox.store.tx import Row, Tx

_SHORTENED = ("envelope", "bodystructure", "body")

_ROW = "uid, flags, keywords, modseq, size, internal_date, save_date, id"
_NEW = f"SELECT {_ROW} FROM messages WHERE mailbox_id = ? AND uid >= ? ORDER BY uid"
# The plus signs keep the planner from walking all UIDs of the mailbox: few rows are newer than a modification number.
_CHANGED = (
    "SELECT uid, flags, keywords, modseq FROM messages WHERE mailbox_id = ? AND modseq > ? AND +uid < ? ORDER BY +uid"
)
_VANISHED = "SELECT uid FROM expunged WHERE mailbox_id = ? AND modseq > ? AND +uid < ? ORDER BY +uid"

_COMPUTED = (
    "b.header_size, b.sent_at, b.sent_zone, b.message_id, b.subject, b.base_subject, b.preview, "
    "b.envelope, b.bodystructure, b.body, b.parts"
)
_RENDERED = (
    f"SELECT m.id, m.blob_id, m.prefix, m.size, {_COMPUTED} FROM messages m JOIN blobs b ON b.id = m.blob_id WHERE "
)
# The header of a row says how long a value is, so a long one is not read.
_LISTED = {
    "header": "b.listed",
    "preview": "b.preview",
    **{name: f"CASE WHEN length(b.{name}) <= {SHORT} THEN b.{name} END" for name in _SHORTENED},
}
_BARE = "SELECT m.id, m.blob_id, m.prefix, m.size FROM messages m WHERE "
_BARE_GONE = "SELECT m.id, m.blob_id, m.prefix, m.size FROM expunged m WHERE m.blob_id IS NOT NULL AND "
_RENDERED_GONE = (
    f"SELECT m.id, m.blob_id, m.prefix, m.size, {_COMPUTED} FROM expunged m JOIN blobs b ON b.id = m.blob_id WHERE "
)


def open_view(tx: Tx, mailbox_id: int) -> View:
    """All messages of a mailbox as columns. Raises NotFound."""
    mailbox = get(tx, mailbox_id)
    tx.heavy(rows=mailbox.message_count)
    view = None
    with suppress(Corrupt):  # `check` tells of it: the rows are still good
        view = view_blocks.read(tx, mailbox)
    if view is None:
        view = view_blocks.empty(mailbox)
        view_blocks.read_rows(tx, view)
    return view


def changes(tx: Tx, mailbox_id: int, since_modseq: int, known_uidnext: int) -> Changes:
    """What a holder of a view up to `since_modseq` and `known_uidnext` has missed. Raises NotFound.

    `new` has the messages from `known_uidnext` on; the other two lists only older ones.
    """
    mailbox = get(tx, mailbox_id)
    if mailbox.highestmodseq <= since_modseq and mailbox.uidnext <= known_uidnext:
        return Changes(mailbox, [], [], [])
    new = [_message_row(row) for row in tx.rows(_NEW, (mailbox_id, known_uidnext))]
    changed = flagged(tx.rows(_CHANGED, (mailbox_id, since_modseq, known_uidnext)))
    vanished = None
    if since_modseq >= mailbox.history_from:
        vanished = [row[0] for row in tx.rows(_VANISHED, (mailbox_id, since_modseq, known_uidnext))]
    return Changes(mailbox, new, changed, vanished)


def rendered(tx: Tx, ids: Sequence[int], *, bare: bool = False) -> list[Rendered]:
    """What was computed at delivery for these messages (`View.ids`), at most 200 in one call to stay on the loop.

    In the order of `ids`; a message that is gone for good is left out, one expunged today is still there. `bare`: only
    where they are, what was computed is empty.
    """
    tx.heavy(rows=len(ids))
    here, gone = (_BARE, _BARE_GONE) if bare else (_RENDERED, _RENDERED_GONE)
    condition, values = tx.among("m.id", ids)
    found = {row[0]: row for row in tx.rows(here + condition, (values,))}
    if missing := [id for id in ids if id not in found]:
        condition, values = tx.among("m.id", missing)
        found.update((row[0], row) for row in tx.rows(gone + condition, (values,)))
    return [Rendered(*found[id]) for id in ids if id in found]


def listed(tx: Tx, ids: Sequence[int], names: Sequence[str]) -> list[list[Any]]:
    """Some of what was computed at delivery for these messages (`View.ids`), a column of values for each of `names`.

    Names: header (the fields that lists show, and all that delivery has put on top), preview, envelope, bodystructure,
    body. None where a message has gone, or a value is longer than SHORT, or was not computed. At most 200 ids in one
    call to stay on the loop.
    """
    tx.heavy(rows=len(ids))
    condition, values = tx.among("m.id", ids)
    chosen = ", ".join(_LISTED[name] for name in names)
    rows = tx.rows(
        f"SELECT {chosen}, m.prefix, m.id FROM messages m JOIN blobs b ON b.id = m.blob_id WHERE {condition} "
        "ORDER BY m.id",
        (values,),
    )
    if [row[-1] for row in rows] != list(ids):  # UIDs and ids ascend together, but after an import
        found = {row[-1]: row for row in rows}
        gone: Row = (None,) * (len(names) + 2)
        rows = [found.get(id, gone) for id in ids]
    *columns, prefixes, _ = ([*column] for column in zip(*rows, strict=True))
    if "header" in names:
        at = names.index("header")
        columns[at] = [
            None if kept is None else prefix + kept for prefix, kept in zip(prefixes, columns[at], strict=True)
        ]
    return columns


def by_uid(tx: Tx, mailbox_id: int, uid: int) -> int | None:
    """The row id of a message, for `rendered`, or None."""
    row = tx.row("SELECT id FROM messages WHERE mailbox_id = ? AND uid = ?", (mailbox_id, uid))
    return None if row is None else row[0]


def claim_recent(tx: Tx, mailbox_id: int) -> int:
    """From which UID on messages are \\Recent for the session that selects now; later sessions get higher ones.

    (RFC 3501 section 2.3.2.) Raises NotFound.
    """
    mailbox = get(tx, mailbox_id)
    if mailbox.first_recent_uid < mailbox.uidnext:
        tx.run(
            "UPDATE mailboxes SET first_recent_uid = uidnext WHERE id = ? AND first_recent_uid < uidnext", (mailbox_id,)
        )
    return mailbox.first_recent_uid


def count_recent(tx: Tx, mailbox_id: int) -> int:
    """STATUS RECENT: messages no session was told of as \\Recent."""
    row = tx.row(
        "SELECT count(*) FROM messages WHERE mailbox_id = ? "
        "AND uid >= (SELECT first_recent_uid FROM mailboxes WHERE id = ?)",
        (mailbox_id, mailbox_id),
    )
    return row[0] if row else 0


def deleted_size(tx: Tx, mailbox_id: int) -> int:
    """Octets that an expunge would free."""
    row = tx.row("SELECT coalesce(sum(size), 0) FROM messages WHERE mailbox_id = ? AND (flags & 8) <> 0", (mailbox_id,))
    return int(row[0]) if row else 0


def flagged(rows: Iterable[Row]) -> list[Flagged]:
    """Rows of uid, flags, keywords, modseq with the keywords split."""
    return [(uid, bits, split_keywords(text), modseq) for uid, bits, text, modseq in rows]


def _message_row(row: Row) -> MessageRow:
    uid, bits, text, *rest = row
    return MessageRow(uid, bits, split_keywords(text), *rest)
