"""What clients note about single messages (RFC 5257), and how many octets of that a mailbox has.

`user_id` NULL is what everybody sees. `value` NULL: the entry was removed, and who listens is to be told of it.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """CREATE TABLE annotations (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        uid {int} NOT NULL,
        user_id {int} REFERENCES users (id) ON DELETE CASCADE,
        entry TEXT NOT NULL,
        value {blob},
        modseq {int} NOT NULL
    )"""
_INDEXES = (
    "CREATE UNIQUE INDEX idx_annotations_once ON annotations (mailbox_id, uid, coalesce(user_id, 0), entry)",
    "CREATE INDEX idx_annotations_modseq ON annotations (mailbox_id, modseq)",
    "CREATE INDEX idx_annotations_user ON annotations (user_id)",
)
_COLUMN = "ALTER TABLE mailboxes ADD COLUMN annotation_octets {int} NOT NULL DEFAULT 0"


def up(words: Mapping[str, str]) -> list[str]:
    return [_TABLE.format(**words), *_INDEXES, _COLUMN.format(**words)]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE annotations", "ALTER TABLE mailboxes DROP COLUMN annotation_octets"]
