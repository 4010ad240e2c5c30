"""`not_before`: when the sender wants a message released at the earliest (RFC 4865). A row that is held has no
`next_retry_at` to remember it."""

from __future__ import annotations

from collections.abc import Mapping


def up(words: Mapping[str, str]) -> list[str]:
    return ["ALTER TABLE message_queue ADD COLUMN not_before {int}".format_map(words)]


def down(words: Mapping[str, str]) -> list[str]:
    return ["ALTER TABLE message_queue DROP COLUMN not_before"]
