"""What mailboxes were at a moment, for as long as that can be brought back; and certificates of clients.

`until` is the moment (epoch seconds) up to which something was so. `past_flags` has a row for the messages of a change
that had the same flags (`uids` as a sequence set). `past_annotations` belong to a row of `expunged`; how many octets of
them a mailbox has is counted with it. `client_certificates` are those that lead to one account, whoever made them.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLES = (
    """CREATE TABLE past_names (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        until {int} NOT NULL
    )""",
    """CREATE TABLE past_flags (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        uids TEXT NOT NULL,
        flags {int} NOT NULL,
        keywords TEXT NOT NULL,
        until {int} NOT NULL
    )""",
    """CREATE TABLE past_annotations (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        message_id {int} NOT NULL,
        user_id {int} REFERENCES users (id) ON DELETE CASCADE,
        entry TEXT NOT NULL,
        value {blob} NOT NULL
    )""",
    """CREATE TABLE client_certificates (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL UNIQUE,
        certificate {blob} NOT NULL,
        name TEXT NOT NULL DEFAULT '',
        not_after {int} NOT NULL,
        created_at {int} NOT NULL
    )""",
)
_INDEXES = (
    "CREATE INDEX idx_past_names_mailbox ON past_names (mailbox_id)",
    "CREATE INDEX idx_past_flags_mailbox ON past_flags (mailbox_id, until)",
    "CREATE INDEX idx_past_annotations_message ON past_annotations (message_id)",
    "CREATE INDEX idx_past_annotations_mailbox ON past_annotations (mailbox_id)",
    "CREATE INDEX idx_past_annotations_user ON past_annotations (user_id)",
    "CREATE INDEX idx_client_certificates_user ON client_certificates (user_id)",
)
_EVENTS = ("INSERT", "DELETE", "UPDATE")
_NOTE = "UPDATE store_counters SET value = value + 1 WHERE id = 3"  # the directory's version, see step 2
_COLUMN = "ALTER TABLE mailboxes ADD COLUMN past_octets {int} NOT NULL DEFAULT 0"


def up(words: Mapping[str, str]) -> list[str]:
    table = "client_certificates"
    if words["blob"] == "BLOB":
        triggers = [f"CREATE TRIGGER {table}_{e.lower()} AFTER {e} ON {table} BEGIN {_NOTE}; END" for e in _EVENTS]
    else:
        triggers = [
            f"CREATE TRIGGER {table}_changed AFTER INSERT OR DELETE OR UPDATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION note_directory()"
        ]
    return [*(one.format(**words) for one in _TABLES), *_INDEXES, *triggers, _COLUMN.format(**words)]


def down(words: Mapping[str, str]) -> list[str]:
    return [
        "DROP TABLE client_certificates",
        "DROP TABLE past_annotations",
        "DROP TABLE past_flags",
        "DROP TABLE past_names",
        "ALTER TABLE mailboxes DROP COLUMN past_octets",
    ]
