"""What lists of messages show, packed (`summaries`). Derived from messages and blobs: what is here may be removed."""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """CREATE TABLE summaries (
        id {id},
        mailbox_id {int} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
        form {int} NOT NULL,
        first_uid {int} NOT NULL,
        last_uid {int} NOT NULL,
        messages {int} NOT NULL,
        ids {blob} NOT NULL,
        header {blob} NOT NULL,
        bodystructure {blob} NOT NULL,
        envelope {blob} NOT NULL,
        UNIQUE (mailbox_id, form, last_uid)
    )"""


def up(words: Mapping[str, str]) -> list[str]:
    return [_TABLE.format(**words)]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE summaries"]
