"""SQLite finds the rows of every frequent statement by the index that is meant for it."""

import pytest
from store_samples import message

from pillarbox.store import (
    Store,
    Tx,
    annotating,
    blobs,
    copying,
    delivery,
    destinations,
    directory,
    events,
    flagging,
    mailbox_lookup,
    messages,
    queue_aside,
    queue_claim,
    queue_settle,
    quota,
    resolution,
    senders,
    tokens,
    usage,
    view_blocks,
    views,
)
from pillarbox.store.records import Queued

BY_UID = "sqlite_autoindex_messages_1 (mailbox_id=? AND uid"
UIDS = "uid IN (SELECT value FROM json_each(?))"
QUEUE_IDS = "id IN (SELECT value FROM json_each(?))"
ROW_IDS = "q.id IN (SELECT value FROM json_each(?))"
BY_KEY = "rowid=?)"  # by the id, whatever index it is taken from
IDS = "m.id IN (SELECT value FROM json_each(?))"

STATEMENTS = {
    view_blocks._ROWS: BY_UID,
    views._NEW: BY_UID,
    views._CHANGED: "idx_messages_modseq (mailbox_id=? AND modseq>?)",
    views._VANISHED: "idx_expunged_modseq (mailbox_id=? AND modseq>?)",
    views._RENDERED + IDS: "SEARCH m USING INTEGER PRIMARY KEY",
    views._RENDERED_GONE + IDS: "SEARCH m USING INTEGER PRIMARY KEY",
    views._BARE + IDS: "SEARCH m USING INTEGER PRIMARY KEY",
    views._BARE_GONE + IDS: "SEARCH m USING INTEGER PRIMARY KEY",
    blobs._WHOLE: "sqlite_autoindex_blob_chunks_1 (blob_id=? AND sequence=?)",
    mailbox_lookup._MOMENT: "SEARCH mailboxes USING INTEGER PRIMARY KEY",
    flagging._SELECT + UIDS: BY_UID,
    flagging._SELECT + "uid = ?": BY_UID,
    "UPDATE messages SET flags = ?, modseq = ? WHERE mailbox_id = ? AND uid = ?": BY_UID,
    "SELECT id, uid FROM messages WHERE mailbox_id = ? AND (flags & 8) <> 0 AND uid = ? ORDER BY uid": "uid=?",
    f"UPDATE messages SET flags = ?, modseq = ? WHERE mailbox_id = ? AND {UIDS}": BY_UID,
    copying._COPY + "mailbox_id = ? AND " + UIDS: BY_UID,
    "SELECT id FROM messages WHERE mailbox_id = ? AND (flags & 8) <> 0 ORDER BY uid": "idx_messages_deleted",
    quota.CHARGE: "SEARCH users USING INTEGER PRIMARY KEY",
    delivery._COUNT_BY_NAME: "sqlite_autoindex_mailboxes_1 (user_id=? AND name=?)",
    mailbox_lookup._BY_NAME: "sqlite_autoindex_mailboxes_1 (user_id=? AND name=?)",
    directory._BY_USERNAME: "idx_users_username",
    directory._BY_EMAIL: "idx_users_email",
    resolution._ANY_USER_IN: "idx_users_email_domain",
    resolution._ALIASES: "sqlite_autoindex_aliases_1 (address=?)",
    f"SELECT id FROM blobs WHERE {blobs.UNREFERENCED}": "idx_expunged_held (fresh=? AND blob_id=?)",
    f"UPDATE expunged SET blob_id = NULL WHERE blob_id = ? AND {blobs.FRESH_OR_NOT}": "(fresh=? AND blob_id=?)",
    copying._FRESH: "COVERING INDEX idx_expunged_held (fresh=?",
    annotating._SEARCH: "idx_annotations_once (mailbox_id=? AND uid>?)",
    annotating._CHANGED: "idx_annotations_modseq (mailbox_id=? AND modseq>?)",
    f"{annotating._SEEN} AND {UIDS}": "idx_annotations_once (mailbox_id=? AND uid=?)",
    annotating._OCTETS + UIDS: "idx_annotations_once (mailbox_id=? AND uid=?)",
    annotating._CARRY + "user_id IS NULL": "idx_annotations_once (mailbox_id=? AND uid=?",
    annotating._HELD: "sqlite_autoindex_mailboxes_1 (user_id=?)",
}

# With a million rows each of these must be a few seeks.
QUEUE_STATEMENTS = {
    queue_claim._NEXT_UNROUTED: "idx_queue_due (destination_id=? AND priority<?)",
    queue_claim._UNROUTED: "idx_queue_due (destination_id=? AND priority=? AND next_retry_at>?)",
    queue_claim._DUE: "COVERING INDEX idx_queue_due (destination_id=? AND priority=? AND next_retry_at<?)",
    queue_claim._NEXT_URGENT: "COVERING INDEX idx_queue_urgent (priority>? AND priority<?)",
    queue_claim._URGENT: "COVERING INDEX idx_queue_urgent (priority=? AND next_retry_at<?)",
    queue_claim._READY_FIRST: "idx_destinations_ready (<expr><?)",
    queue_claim._IF_READY: "SEARCH destinations USING INTEGER PRIMARY KEY (rowid=?)",
    queue_claim._NEXT_READY: "idx_destinations_ready",
    queue_claim._CLAIM + QUEUE_IDS: BY_KEY,
    queue_claim._CLAIMED + ROW_IDS: "SEARCH q USING INTEGER PRIMARY KEY (rowid=?)",
    queue_claim._PROLONG + QUEUE_IDS: BY_KEY,
    queue_claim._FREE: "idx_queue_status (status=?)",
    queue_claim._HOLDERS: "idx_queue_status (status=?)",
    queue_claim._ASSIGN: BY_KEY,
    queue_settle._DEFER: BY_KEY,
    queue_settle._FAIL: BY_KEY,
    queue_settle._GIVE_BACK + QUEUE_IDS: BY_KEY,
    destinations._BY_NAME: "sqlite_autoindex_destinations_1 (name=?)",
    queue_aside._STRAYED[0]: "idx_queue_next_retry (next_retry_at>?)",
    queue_aside._STRAYED[1]: "idx_queue_priority (priority>?)",
    destinations._NEXT_PRIORITY: "idx_queue_due (destination_id=? AND priority<?)",
    destinations._FEW: "COVERING INDEX idx_queue_due (destination_id=?)",
    destinations._FIRST_DUE: "idx_queue_due (destination_id=? AND priority=? AND next_retry_at>?)",
    destinations._NEXT_IN_QUEUE: "COVERING INDEX idx_queue_due (destination_id>?)",
    destinations._STRAY: "COVERING INDEX idx_queue_resting (next_retry_at=? AND status=?)",
    destinations._ORPHANS: "idx_queue_due (destination_id=?",
    senders._GRANTED: "sqlite_autoindex_sender_grants_1 (user_id=? AND address=?)",
    tokens._BY_HASH: "sqlite_autoindex_tokens_1 (token_hash=?)",
    usage._DAY: "sqlite_autoindex_sending_usage_1 (user_id=? AND hour>?)",
    events._OF_MESSAGE: "idx_events_key (message_key=? AND rowid>?)",
    events._TRIM: "idx_events_at (at<?)",
}


@pytest.mark.parametrize("analysed", ["", "empty", "one destination", "many destinations"])
async def test_plans_of_the_queue(sqlite_store: Store, analysed: str) -> None:
    """Also after an ANALYZE at a moment at which the tables looked quite different."""

    def plan(tx: Tx, sql: str) -> list[str]:
        return [row[3] for row in tx.rows("EXPLAIN QUERY PLAN " + sql, (1,) * sql.count("?"))]

    if analysed:
        names = {"one destination": ["one"], "many destinations": [f"d{number % 50}" for number in range(200)]}
        plans = [
            Queued("a@b.c", f"u{at}@d.e", destination=name, priority=at % 3 - 1, message_key=f"k{at}")
            for at, name in enumerate(names.get(analysed, []) * (200 if analysed == "one destination" else 1))
        ]
        if plans:
            await sqlite_store.write(messages.deliver, message(), plans)
        await sqlite_store.write(lambda tx: tx.run("ANALYZE"))
    for sql, expected in QUEUE_STATEMENTS.items():
        found = await sqlite_store.read(plan, sql)
        assert expected in "; ".join(found), (sql, found)
        bad = "SCAN" if sql == queue_claim._HOLDERS else "TEMP B-TREE"  # as many as are in flight
        assert not any(bad in line or "SCAN message_queue" in line for line in found), (sql, found)


@pytest.mark.parametrize("analysed", [False, True])
async def test_plans(sqlite_store: Store, analysed: bool) -> None:
    def plan(tx: Tx, sql: str) -> str:
        return "; ".join(row[3] for row in tx.rows("EXPLAIN QUERY PLAN " + sql, (1,) * sql.count("?")))

    if analysed:  # as an operator does once a month
        await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
        await sqlite_store.write(lambda tx: tx.run("ANALYZE"))
    for sql, expected in STATEMENTS.items():
        found = await sqlite_store.read(plan, sql)
        assert expected in found, (sql, found)
