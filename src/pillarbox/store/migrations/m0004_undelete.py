"""What a removed message and a deleted mailbox need to come back, and what was taken in from elsewhere.

`expunged.expunged_at` is there as long as the message can be brought back: its blob is kept so long. Rows that an older
program writes have none and are gone as they were with it. `mailboxes.deleted_owner` is whose a deleted mailbox was.
"""

from __future__ import annotations

from collections.abc import Mapping

_EXPUNGED = (
    "flags {int} NOT NULL DEFAULT 0",
    "keywords TEXT NOT NULL DEFAULT ''",
    "internal_date {int}",
    "save_date {int}",
    "expunged_at {int}",
    "moved {int} NOT NULL DEFAULT 0",  # it went to another mailbox
)
_OWNER = "deleted_owner {int} REFERENCES users (id) ON DELETE SET NULL"

_TABLES = (
    # A folder of another store and the mailbox it is taken into; the numbers are those of an IMAP server.
    """CREATE TABLE import_folders (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        source TEXT NOT NULL,
        folder TEXT NOT NULL,
        mailbox_id {int} REFERENCES mailboxes (id) ON DELETE SET NULL,
        uidvalidity {int} NOT NULL DEFAULT 0,
        uidnext {int} NOT NULL DEFAULT 0,
        keeps_uids {int} NOT NULL DEFAULT 0,
        updated_at {int} NOT NULL,
        UNIQUE (user_id, source, folder)
    )""",
    # A message that was taken in. `digest` is of its octets, with a number for each further one of the same octets.
    """CREATE TABLE imported (
        id {id},
        folder_id {int} NOT NULL REFERENCES import_folders (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        source_uid {int},
        uid {int} NOT NULL,
        size {int} NOT NULL,
        flags {int} NOT NULL DEFAULT 0,
        keywords TEXT NOT NULL DEFAULT '',
        UNIQUE (folder_id, digest)
    )""",
)
_INDEXES = (
    "CREATE INDEX idx_expunged_at ON expunged (expunged_at) WHERE expunged_at IS NOT NULL",
    "CREATE INDEX idx_mailboxes_deleted_owner ON mailboxes (deleted_owner) WHERE deleted_owner IS NOT NULL",
    "CREATE INDEX idx_import_folders_mailbox ON import_folders (mailbox_id)",
    "CREATE UNIQUE INDEX idx_imported_source ON imported (folder_id, source_uid) WHERE source_uid IS NOT NULL",
)


def up(words: Mapping[str, str]) -> list[str]:
    return [
        *(f"ALTER TABLE expunged ADD COLUMN {column.format(**words)}" for column in _EXPUNGED),
        f"ALTER TABLE mailboxes ADD COLUMN {_OWNER.format(**words)}",
        *(table.format(**words) for table in _TABLES),
        *_INDEXES,
    ]


def down(words: Mapping[str, str]) -> list[str]:
    return [
        "DROP TABLE imported",
        "DROP TABLE import_folders",
        "DROP INDEX idx_expunged_at",
        "DROP INDEX idx_mailboxes_deleted_owner",
        "ALTER TABLE mailboxes DROP COLUMN deleted_owner",
        *(f"ALTER TABLE expunged DROP COLUMN {column.split()[0]}" for column in _EXPUNGED),
    ]
