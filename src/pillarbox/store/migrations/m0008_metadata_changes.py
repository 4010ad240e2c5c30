"""Which entries of metadata were changed last, so that whoever listens is told of these and of no others.

`owner_id` and `modseq`: the account whose counter numbers the change; NULL and the directory's version for what
everybody sees of the server. `mailbox_id` NULL is the server, `user_id` NULL what everybody sees.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """CREATE TABLE metadata_changes (
        id {id},
        owner_id {int} REFERENCES users (id) ON DELETE CASCADE,
        modseq {int} NOT NULL,
        mailbox_id {int} REFERENCES mailboxes (id) ON DELETE CASCADE,
        user_id {int} REFERENCES users (id) ON DELETE CASCADE,
        entry TEXT NOT NULL
    )"""
_INDEXES = (
    "CREATE INDEX idx_metadata_changes_owner ON metadata_changes (owner_id, modseq)",
    "CREATE INDEX idx_metadata_changes_mailbox ON metadata_changes (mailbox_id)",
    "CREATE INDEX idx_metadata_changes_user ON metadata_changes (user_id)",
)


def up(words: Mapping[str, str]) -> list[str]:
    return [_TABLE.format(**words), *_INDEXES]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE metadata_changes"]
