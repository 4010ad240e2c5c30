"""`pillarbox check`: every invariant of a store, and a sentence for each that is broken.

Reads everything, message bytes included, in one moment of the database. Changes nothing.
"""

from __future__ import annotations

from pillarbox.store.blobs import unpack
from pillarbox.store.errors import Corrupt
from pillarbox.store.tx import Tx

_SOME_BLOBS = "SELECT id, size, data FROM blobs WHERE complete = 1 AND id > ? ORDER BY id LIMIT 50"

MOST = 20  # sentences of one kind, then "and N more"

# Each: the sentence for a row, with the columns of the query.
_QUERIES: tuple[tuple[str, str], ...] = (
    (
        "Mailbox {} ({}) says {} messages, {} unseen, {} deleted, {} octets; its rows say {}, {}, {}, {}.",
        "SELECT id, name, message_count, unseen_count, deleted_count, total_size, n, u, d, s FROM "
        "(SELECT m.id, m.name, m.message_count, m.unseen_count, m.deleted_count, m.total_size, count(e.id) AS n, "
        "coalesce(sum(CASE WHEN e.flags & 1 = 0 THEN 1 ELSE 0 END), 0) AS u, "
        "coalesce(sum(CASE WHEN e.flags & 8 <> 0 THEN 1 ELSE 0 END), 0) AS d, coalesce(sum(e.size), 0) AS s "
        "FROM mailboxes m LEFT JOIN messages e ON e.mailbox_id = m.id WHERE m.deleted_at IS NULL "
        "GROUP BY m.id, m.name, m.message_count, m.unseen_count, m.deleted_count, m.total_size) AS counted "
        "WHERE n <> message_count OR u <> unseen_count OR d <> deleted_count OR s <> total_size",
    ),
    (
        "Mailbox {} has message {} with UID {}, not below its UIDNEXT {}.",
        "SELECT m.id, e.id, e.uid, m.uidnext FROM messages e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.uid >= m.uidnext OR e.uid < 1",
    ),
    (
        "Mailbox {} has message {} with modification number {}, above its HIGHESTMODSEQ {}.",
        "SELECT m.id, e.id, e.modseq, m.highestmodseq FROM messages e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.modseq > m.highestmodseq",
    ),
    (
        "Mailbox {} remembers an expunge of UID {} with modification number {}, above its HIGHESTMODSEQ {}.",
        "SELECT m.id, e.uid, e.modseq, m.highestmodseq FROM expunged e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.modseq > m.highestmodseq",
    ),
    (
        "Mailbox {} has HIGHESTMODSEQ {}, above its account's counter {}.",
        "SELECT m.id, m.highestmodseq, u.modseq FROM mailboxes m JOIN users u ON u.id = m.user_id "
        "WHERE m.highestmodseq > u.modseq",
    ),
    (
        "Mailbox {} has its history from {} on, above its HIGHESTMODSEQ {}.",
        "SELECT id, history_from, highestmodseq FROM mailboxes WHERE history_from > highestmodseq",
    ),
    (
        "Mailbox {} remembers UID {} as expunged, but the message is there.",
        "SELECT e.mailbox_id, e.uid FROM expunged e JOIN messages m ON m.mailbox_id = e.mailbox_id AND m.uid = e.uid",
    ),
    (
        "Message id {} is both there and expunged.",
        "SELECT e.id FROM expunged e JOIN messages m ON m.id = e.id",
    ),
    (
        "Message {} in mailbox {} refers to blob {}, which is not there or not complete.",
        "SELECT m.id, m.mailbox_id, m.blob_id FROM messages m LEFT JOIN blobs b ON b.id = m.blob_id "
        "WHERE b.id IS NULL OR b.complete <> 1",
    ),
    (
        "Message {} in mailbox {} says {} octets, but prefix and blob have {}.",
        "SELECT m.id, m.mailbox_id, m.size, length(m.prefix) + b.size FROM messages m JOIN blobs b ON b.id = m.blob_id "
        "WHERE m.size <> length(m.prefix) + b.size",
    ),
    (
        "Message {} belongs to mailbox {}, which is not there.",
        "SELECT e.id, e.mailbox_id FROM messages e LEFT JOIN mailboxes m ON m.id = e.mailbox_id WHERE m.id IS NULL",
    ),
    (
        "The expunge of message {} belongs to mailbox {}, which is not there.",
        "SELECT e.id, e.mailbox_id FROM expunged e LEFT JOIN mailboxes m ON m.id = e.mailbox_id WHERE m.id IS NULL",
    ),
    (
        "Queue row {} refers to blob {}, which is not there or not complete.",
        "SELECT q.id, q.blob_id FROM message_queue q LEFT JOIN blobs b ON b.id = q.blob_id "
        "WHERE q.blob_id IS NOT NULL AND (b.id IS NULL OR b.complete <> 1)",
    ),
    (
        "Mailbox {} belongs to user {}, who is not there.",
        "SELECT m.id, m.user_id FROM mailboxes m LEFT JOIN users u ON u.id = m.user_id "
        "WHERE m.deleted_at IS NULL AND u.id IS NULL",
    ),
    (
        "Mailbox {} is deleted but has an owner.",
        "SELECT id FROM mailboxes WHERE deleted_at IS NOT NULL AND user_id IS NOT NULL",
    ),
    (
        "A subscription to {} belongs to user {}, who is not there.",
        "SELECT s.name, s.user_id FROM subscriptions s LEFT JOIN users u ON u.id = s.user_id WHERE u.id IS NULL",
    ),
    (
        "User {} is charged {} octets, but the mailboxes hold {}.",
        "SELECT username, quota_used, held FROM "
        "(SELECT u.username, u.quota_used, coalesce(sum(m.total_size), 0) AS held "
        "FROM users u LEFT JOIN mailboxes m ON m.user_id = u.id "
        "GROUP BY u.id, u.username, u.quota_used) AS charged "
        "WHERE quota_used <> held",
    ),
    (
        "User {} has no INBOX.",
        "SELECT u.username FROM users u LEFT JOIN mailboxes m ON m.user_id = u.id AND m.name = 'INBOX' "
        "WHERE m.id IS NULL",
    ),
    (
        "Mailbox {} has UIDVALIDITY {}, above the store's last one {}.",
        "SELECT m.id, m.uidvalidity, c.value FROM mailboxes m JOIN store_counters c ON c.id = 2 "
        "WHERE m.uidvalidity > c.value",
    ),
    (
        "Chunk {} belongs to blob {}, which is not there.",
        "SELECT c.id, c.blob_id FROM blob_chunks c LEFT JOIN blobs b ON b.id = c.blob_id WHERE b.id IS NULL",
    ),
    (
        "Message {} has keywords that are not sorted or not separated by single spaces: {!r}.",
        "SELECT id, keywords FROM messages WHERE keywords <> trim(keywords) OR keywords LIKE '%  %'",
    ),
)


def check(tx: Tx) -> list[str]:
    """What is wrong with the rows and the bytes of messages."""
    problems: list[str] = []
    for sentence, sql in _QUERIES:
        _say(problems, [sentence.format(*row) for row in tx.rows(sql)])
    _say(problems, _blobs(tx))
    return problems


def check_file(tx: Tx) -> list[str]:
    """What SQLite itself finds wrong with its file."""
    problems: list[str] = []
    found = [row[0] for row in tx.rows("PRAGMA integrity_check(20)")]
    _say(problems, [f"SQLite: {line}." for line in found if line != "ok"])
    broken = tx.rows("PRAGMA foreign_key_check")
    _say(
        problems,
        [f"Row {row} of {table} refers to a row of {parent} that is not there." for table, row, parent, _ in broken],
    )
    return problems


def _blobs(tx: Tx) -> list[str]:
    problems = []
    last = 0
    while rows := tx.rows(_SOME_BLOBS, (last,)):
        for blob_id, size, data in rows:
            try:
                if data is not None:
                    unpack(data, size)
                else:
                    _chunks(tx, blob_id, size)
            except Corrupt as error:
                problems.append(f"Blob {blob_id} is damaged: {error}.")
        last = rows[-1][0]
    return problems


def _chunks(tx: Tx, blob_id: int, size: int) -> None:
    end = 0
    for chunk_id, sequence, start, octets in tx.rows(
        "SELECT id, sequence, start, size FROM blob_chunks WHERE blob_id = ? ORDER BY sequence", (blob_id,)
    ):
        if start != end:
            raise Corrupt(f"chunk {sequence} begins at {start} instead of {end}")
        (piece,) = tx.row("SELECT data FROM blob_chunks WHERE id = ?", (chunk_id,)) or (b"",)
        unpack(piece, octets)
        end += octets
    if end != size:
        raise Corrupt(f"its chunks have {end} octets instead of {size}")


def _say(problems: list[str], found: list[str]) -> None:
    problems += found[:MOST]
    if len(found) > MOST:
        problems.append(f"... and {len(found) - MOST} more of that kind.")
