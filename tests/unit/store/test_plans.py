"""SQLite finds the rows of every frequent statement by the index that is meant for it."""

import pytest

from pillarbox.store import Store, Tx, copying, delivery, directory, flagging, mailbox_lookup, resolution, views

BY_UID = "sqlite_autoindex_messages_1 (mailbox_id=? AND uid"
UIDS = "uid IN (SELECT value FROM json_each(?))"
IDS = "m.id IN (SELECT value FROM json_each(?))"

STATEMENTS = {
    views._VIEW: BY_UID,
    views._NEW: BY_UID,
    views._CHANGED: "idx_messages_modseq (mailbox_id=? AND modseq>?)",
    views._VANISHED: "idx_expunged_modseq (mailbox_id=? AND modseq>?)",
    views._RENDERED + IDS: "SEARCH m USING INTEGER PRIMARY KEY",
    views._RENDERED_GONE + IDS: "SEARCH m USING INTEGER PRIMARY KEY",
    flagging._SELECT + UIDS: BY_UID,
    f"UPDATE messages SET flags = ?, modseq = ? WHERE mailbox_id = ? AND {UIDS}": BY_UID,
    copying._COPY + "mailbox_id = ? AND " + UIDS: BY_UID,
    "SELECT id FROM messages WHERE mailbox_id = ? AND (flags & 8) <> 0 ORDER BY uid": "idx_messages_deleted",
    delivery.CHARGE: "SEARCH users USING INTEGER PRIMARY KEY",
    delivery._COUNT_BY_NAME: "sqlite_autoindex_mailboxes_1 (user_id=? AND name=?)",
    mailbox_lookup._BY_NAME: "sqlite_autoindex_mailboxes_1 (user_id=? AND name=?)",
    directory._BY_USERNAME: "idx_users_username",
    directory._BY_EMAIL: "idx_users_email",
    resolution._ANY_USER_IN: "idx_users_email_domain",
    resolution._ALIASES: "sqlite_autoindex_aliases_1 (address=?)",
}


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
