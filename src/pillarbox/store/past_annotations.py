"""Annotations of expunged messages (RFC 5257), for as long as these can be brought back.

They count no more for what an account may have; of such past ones there may be as many octets again, and what is over
that is not kept. Both sums are those of the account's mailboxes, deleted ones too.
"""

from __future__ import annotations

from pillarbox.store.tx import Tx

_OCTETS = "coalesce(sum(length(p.value) + length(p.entry)), 0)"
_HELD = "SELECT coalesce(sum(past_octets), 0) FROM mailboxes WHERE user_id = ? OR deleted_owner = ?"
_KEEP = (
    "INSERT INTO past_annotations (mailbox_id, message_id, user_id, entry, value) "
    "SELECT a.mailbox_id, m.id, a.user_id, a.entry, a.value FROM annotations a "
    "JOIN messages m ON m.mailbox_id = a.mailbox_id AND m.uid = a.uid WHERE a.mailbox_id = ? AND a.value IS NOT NULL "
)
_ORPHANS = (
    "SELECT DISTINCT p.message_id FROM past_annotations p LEFT JOIN expunged e ON e.id = p.message_id "
    "WHERE e.expunged_at IS NULL LIMIT 1000"
)
_COUNT = "UPDATE mailboxes SET past_octets = past_octets + ? WHERE id = ?"


def keep(
    tx: Tx, mailbox_id: int, owner_id: int, where: str, params: tuple[object, ...], octets: int, limit: int
) -> None:
    """Keep the annotations of messages (a condition on them) that are about to be expunged: so many `octets`, unless
    the account would have more than `limit` then."""
    (held,) = tx.row(_HELD, (owner_id, owner_id)) or (0,)
    if octets and held + octets <= limit:
        tx.run(f"{_KEEP}AND m.id IN (SELECT id FROM messages WHERE {where})", (mailbox_id, *params))
        tx.run(_COUNT, (octets, mailbox_id))


def bring_back(tx: Tx, target_id: int, base: int, modseq: int, numbered: str, params: tuple[object, ...]) -> int:
    """Copy those of expunged messages to the messages that came back; how many octets. `numbered` is a SELECT of their
    id and `n`: they came back as UID `base + n`."""
    source = f"FROM past_annotations p JOIN ({numbered}) AS back ON back.id = p.message_id"
    (octets,) = tx.row(f"SELECT {_OCTETS} {source}", params) or (0,)
    if octets:
        tx.run(
            "INSERT INTO annotations (mailbox_id, uid, user_id, entry, value, modseq) "
            f"SELECT ?, ? + back.n, p.user_id, p.entry, p.value, ? {source}",
            (target_id, base, modseq, *params),
        )
    return int(octets)


def forget(tx: Tx, condition: str, values: object) -> None:
    """Those of expunged messages (a condition on p.message_id) go."""
    rows = tx.rows(f"SELECT mailbox_id, {_OCTETS} FROM past_annotations p WHERE {condition} GROUP BY 1", (values,))
    if rows:
        tx.run(f"DELETE FROM past_annotations AS p WHERE {condition}", (values,))
        tx.many(_COUNT, [(-octets, mailbox_id) for mailbox_id, octets in rows])


def orphans(tx: Tx) -> list[int]:
    """Expunged messages that an older program, which knows nothing of this, has given up. A scan."""
    return [row[0] for row in tx.rows(_ORPHANS)]


def drop(tx: Tx, message_id: int) -> int:
    """Those of an orphan go."""
    forget(tx, *tx.among("p.message_id", [message_id]))
    return 1


def forget_user(tx: Tx, user_id: int) -> None:
    """What an account had noted for itself goes with it."""
    rows = tx.rows(f"SELECT mailbox_id, {_OCTETS} FROM past_annotations p WHERE user_id = ? GROUP BY 1", (user_id,))
    tx.run("DELETE FROM past_annotations WHERE user_id = ?", (user_id,))
    tx.many(_COUNT, [(-octets, mailbox_id) for mailbox_id, octets in rows])
