"""Accounts, mailboxes, messages, blobs and the queue.

Every table has an INTEGER PRIMARY KEY, so that VACUUM by anybody's `sqlite3` keeps the numbers. Ids of messages and
blobs are never used twice: sessions hold them longer than the rows live.
"""

from __future__ import annotations

from collections.abc import Mapping

TABLES = (
    # Values that exist once; counters apart, because they are added to.
    "CREATE TABLE store_meta (id {id}, key TEXT NOT NULL UNIQUE, value TEXT NOT NULL)",
    "CREATE TABLE store_counters (id {key}, name TEXT NOT NULL UNIQUE, value {int} NOT NULL DEFAULT 0)",
    "CREATE TABLE leases (id {id}, name TEXT NOT NULL UNIQUE, holder TEXT NOT NULL, expires_at {int} NOT NULL)",
    # The account table. `modseq` stamps every change in the account; `email_domain` is the key form of the domain.
    """CREATE TABLE users (
        id {id},
        username TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        email TEXT NOT NULL,
        enabled {int} NOT NULL DEFAULT 1,
        created_at {int} NOT NULL,
        updated_at {int} NOT NULL,
        quota_limit {int} NOT NULL DEFAULT 0,
        quota_used {int} NOT NULL DEFAULT 0,
        attachment_max_size {int} NOT NULL DEFAULT 0,
        attachment_max_total {int} NOT NULL DEFAULT 0,
        last_login {int},
        role TEXT NOT NULL DEFAULT 'user',
        scram_sha256 TEXT NOT NULL DEFAULT '',
        credentials_version {int} NOT NULL DEFAULT 1,
        modseq {int} NOT NULL DEFAULT 1,
        email_domain TEXT NOT NULL DEFAULT ''
    )""",
    "CREATE UNIQUE INDEX idx_users_username ON users (lower(username))",
    "CREATE UNIQUE INDEX idx_users_email ON users (lower(email))",
    "CREATE INDEX idx_users_email_domain ON users (email_domain)",
    """CREATE TABLE domains (
        id {id},
        name TEXT NOT NULL UNIQUE,
        enabled {int} NOT NULL DEFAULT 1,
        catch_all TEXT,
        created_at {int} NOT NULL
    )""",
    """CREATE TABLE aliases (
        id {id},
        address TEXT NOT NULL,
        target TEXT NOT NULL,
        created_at {int} NOT NULL,
        UNIQUE (address, target)
    )""",
    # A deleted mailbox loses its owner and name at once; its rows go page by page.
    """CREATE TABLE mailboxes (
        id {id},
        user_id {int} REFERENCES users (id),
        name TEXT NOT NULL,
        uidvalidity {int} NOT NULL,
        uidnext {int} NOT NULL DEFAULT 1,
        highestmodseq {int} NOT NULL,
        history_from {int} NOT NULL,
        special_use TEXT,
        first_recent_uid {int} NOT NULL DEFAULT 1,
        message_count {int} NOT NULL DEFAULT 0,
        unseen_count {int} NOT NULL DEFAULT 0,
        deleted_count {int} NOT NULL DEFAULT 0,
        total_size {int} NOT NULL DEFAULT 0,
        created_at {int} NOT NULL,
        deleted_at {int},
        UNIQUE (user_id, name)
    )""",
    "CREATE INDEX idx_mailboxes_deleted ON mailboxes (deleted_at) WHERE deleted_at IS NOT NULL",
    # A name may be subscribed to without a mailbox of that name (RFC 9051 section 6.3.7).
    """CREATE TABLE subscriptions (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id),
        name TEXT NOT NULL,
        UNIQUE (user_id, name)
    )""",
    # The bytes of a message, and what was computed of them once. The data stands last: what is before it is read
    # without it. Up to 256 KiB it is here; a larger one is in blob_chunks and `data` is empty.
    """CREATE TABLE blobs (
        id {id},
        size {int} NOT NULL DEFAULT 0,
        complete {int} NOT NULL DEFAULT 0,
        owner TEXT NOT NULL DEFAULT '',
        created_at {int} NOT NULL,
        header_size {int} NOT NULL DEFAULT 0,
        sent_at {int},
        sent_zone {int} NOT NULL DEFAULT 0,
        message_id TEXT NOT NULL DEFAULT '',
        in_reply_to TEXT NOT NULL DEFAULT '',
        refs TEXT NOT NULL DEFAULT '',
        subject TEXT NOT NULL DEFAULT '',
        base_subject TEXT NOT NULL DEFAULT '',
        preview TEXT NOT NULL DEFAULT '',
        envelope {blob},
        bodystructure {blob},
        body {blob},
        parts {blob},
        data {blob}
    )""",
    "CREATE INDEX idx_blobs_unfinished ON blobs (id) WHERE complete = 0",
    """CREATE TABLE blob_chunks (
        id {id},
        blob_id {int} NOT NULL REFERENCES blobs (id),
        sequence {int} NOT NULL,
        start {int} NOT NULL,
        size {int} NOT NULL,
        data {blob} NOT NULL,
        UNIQUE (blob_id, sequence)
    )""",
    # Blobs that nobody refers to, and since when: apart, because changing a row of `blobs` rewrites its data.
    "CREATE TABLE unreferenced_blobs (id {key}, since {int} NOT NULL)",
    "CREATE INDEX idx_unreferenced_since ON unreferenced_blobs (since)",
    """CREATE TABLE messages (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id),
        uid {int} NOT NULL,
        blob_id {int} NOT NULL REFERENCES blobs (id),
        flags {int} NOT NULL DEFAULT 0,
        keywords TEXT NOT NULL DEFAULT '',
        modseq {int} NOT NULL,
        internal_date {int} NOT NULL,
        save_date {int} NOT NULL,
        size {int} NOT NULL,
        prefix {blob} NOT NULL,
        UNIQUE (mailbox_id, uid)
    )""",
    "CREATE INDEX idx_messages_modseq ON messages (mailbox_id, modseq)",
    "CREATE INDEX idx_messages_blob ON messages (blob_id)",
    "CREATE INDEX idx_messages_deleted ON messages (mailbox_id, uid) WHERE (flags & 8) <> 0",
    # What is gone, under the id it had: a session with an old view still fetches it while the blob is there.
    """CREATE TABLE expunged (
        id {key},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id),
        uid {int} NOT NULL,
        modseq {int} NOT NULL,
        blob_id {int},
        size {int} NOT NULL,
        prefix {blob} NOT NULL
    )""",
    "CREATE INDEX idx_expunged_modseq ON expunged (mailbox_id, modseq)",
    "CREATE INDEX idx_expunged_blob ON expunged (blob_id) WHERE blob_id IS NOT NULL",
    # Operators read and delete these rows by hand: created_at must stay an INTEGER. message_data is always empty.
    """CREATE TABLE message_queue (
        id {id},
        from_address TEXT NOT NULL,
        to_address TEXT NOT NULL,
        message_data {blob} NOT NULL DEFAULT {empty},
        priority {int} NOT NULL DEFAULT 0,
        retry_count {int} NOT NULL DEFAULT 0,
        max_retries {int} NOT NULL DEFAULT 5,
        next_retry_at {int},
        created_at {int} NOT NULL,
        last_error TEXT,
        status TEXT NOT NULL DEFAULT 'pending',
        attempts {int} NOT NULL DEFAULT 0,
        updated_at {int} NOT NULL DEFAULT 0,
        blob_id {int} REFERENCES blobs (id),
        prefix {blob} NOT NULL DEFAULT {empty}
    )""",
    "CREATE INDEX idx_queue_next_retry ON message_queue (next_retry_at)",
    "CREATE INDEX idx_queue_priority ON message_queue (priority DESC)",
    "CREATE INDEX idx_queue_status ON message_queue (status)",
    "CREATE INDEX idx_queue_blob ON message_queue (blob_id)",
)

ROWS = (
    "INSERT INTO store_counters (id, name, value) VALUES (1, 'commits', 0)",
    "INSERT INTO store_counters (id, name, value) VALUES (2, 'uidvalidity', 0)",
    "INSERT INTO store_counters (id, name, value) VALUES (3, 'directory', 0)",
    "INSERT INTO store_counters (id, name, value) VALUES (4, 'blob_sweep', 0)",
)

DROPPED = (
    "message_queue",
    "expunged",
    "messages",
    "unreferenced_blobs",
    "blob_chunks",
    "blobs",
    "subscriptions",
    "mailboxes",
    "aliases",
    "domains",
    "users",
    "leases",
    "store_counters",
    "store_meta",
)


def up(words: Mapping[str, str]) -> list[str]:
    empty = "x''" if words["blob"] == "BLOB" else "''"
    return [*(table.format(**words, empty=empty) for table in TABLES), *ROWS]


def down(words: Mapping[str, str]) -> list[str]:
    return [f"DROP TABLE {name}" for name in DROPPED]
