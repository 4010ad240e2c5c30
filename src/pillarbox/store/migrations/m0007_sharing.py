"""Quotas beside that of octets, rights of others on mailboxes, and what clients note about mailboxes and the server.

`acl`: a right belongs to one mailbox, or with `mailbox_id` NULL to all of an account's; `user_id` NULL is anyone.
`metadata`: `mailbox_id` NULL is the server, `user_id` NULL what everybody sees.
"""

from __future__ import annotations

from collections.abc import Mapping

_COLUMNS = (
    ("users", "quota_messages {int} NOT NULL DEFAULT 0"),
    ("users", "quota_mailboxes {int} NOT NULL DEFAULT 0"),
    ("users", "quota_warned {int} NOT NULL DEFAULT 0"),  # per cent that the account was told of
    ("domains", "quota_limit {int} NOT NULL DEFAULT 0"),  # octets of all its accounts together
    ("domains", "quota_messages {int} NOT NULL DEFAULT 0"),
    ("domains", "quota_warned {int} NOT NULL DEFAULT 0"),
)
_TABLES = (
    """CREATE TABLE acl (
        id {id},
        owner_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        mailbox_id {int} REFERENCES mailboxes (id) ON DELETE CASCADE,
        user_id {int} REFERENCES users (id) ON DELETE CASCADE,
        negative {int} NOT NULL DEFAULT 0,
        rights TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX idx_acl_once ON acl (owner_id, coalesce(mailbox_id, 0), coalesce(user_id, 0), negative)",
    "CREATE INDEX idx_acl_user ON acl (user_id, owner_id)",
    "CREATE INDEX idx_acl_mailbox ON acl (mailbox_id)",
    """CREATE TABLE metadata (
        id {id},
        mailbox_id {int} REFERENCES mailboxes (id) ON DELETE CASCADE,
        user_id {int} REFERENCES users (id) ON DELETE CASCADE,
        entry TEXT NOT NULL,
        value {blob} NOT NULL
    )""",
    "CREATE UNIQUE INDEX idx_metadata_once ON metadata (coalesce(mailbox_id, 0), coalesce(user_id, 0), entry)",
    "CREATE INDEX idx_metadata_mailbox ON metadata (mailbox_id)",
    "CREATE INDEX idx_metadata_user ON metadata (user_id)",
)
_NOTE = "UPDATE store_counters SET value = value + 1 WHERE id = 3"
_QUOTAS = "UPDATE OF quota_messages, quota_mailboxes ON users"
_EVENTS = ("INSERT", "DELETE", "UPDATE")


def up(words: Mapping[str, str]) -> list[str]:
    columns = [f"ALTER TABLE {table} ADD COLUMN {column.format(**words)}" for table, column in _COLUMNS]
    if words["blob"] == "BLOB":
        triggers = [f"CREATE TRIGGER acl_{e.lower()} AFTER {e} ON acl BEGIN {_NOTE}; END" for e in _EVENTS]
        triggers.append(f"CREATE TRIGGER users_quotas AFTER {_QUOTAS} BEGIN {_NOTE}; END")
    else:
        triggers = [
            f"CREATE TRIGGER {name} AFTER {event} FOR EACH STATEMENT EXECUTE FUNCTION note_directory()"
            for name, event in (("acl_changed", "INSERT OR DELETE OR UPDATE ON acl"), ("users_quotas", _QUOTAS))
        ]
    return [*columns, *(table.format(**words) for table in _TABLES), *triggers]


def down(words: Mapping[str, str]) -> list[str]:
    trigger = "DROP TRIGGER users_quotas" + ("" if words["blob"] == "BLOB" else " ON users")
    columns = [f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}" for table, column in _COLUMNS]
    return [trigger, "DROP TABLE metadata", "DROP TABLE acl", *columns]
