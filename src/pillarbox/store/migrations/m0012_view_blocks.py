"""The columns of large mailboxes, packed (`view_blocks`). Derived from `messages`: what is here may be removed."""

from __future__ import annotations

from collections.abc import Mapping

_TABLES = (
    """CREATE TABLE view_packs (
        mailbox_id {key} REFERENCES mailboxes (id) ON DELETE CASCADE,
        uidvalidity {int} NOT NULL,
        span {int} NOT NULL,
        modseq {int} NOT NULL
    )""",
    """CREATE TABLE view_blocks (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        block {int} NOT NULL,
        data {blob} NOT NULL,
        UNIQUE (mailbox_id, block)
    )""",
)


def up(words: Mapping[str, str]) -> list[str]:
    return [table.format(**words) for table in _TABLES]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE view_blocks", "DROP TABLE view_packs"]
