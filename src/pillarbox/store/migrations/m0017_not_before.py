"""`not_before`: when the sender wants a message released at the earliest (RFC 4865). A row that is held has no
`next_retry_at` to remember it.

What an account submitted, nobody has tried and waits for a time after it came, waits for what its sender wanted.
"""

from __future__ import annotations

from collections.abc import Mapping

_WAITING = "status = 'pending' AND attempts = 0 AND user_id IS NOT NULL AND next_retry_at > created_at"


def up(words: Mapping[str, str]) -> list[str]:
    return [
        "ALTER TABLE message_queue ADD COLUMN not_before {int}".format_map(words),
        f"UPDATE message_queue SET not_before = next_retry_at WHERE {_WAITING}",
    ]


def down(words: Mapping[str, str]) -> list[str]:
    return ["ALTER TABLE message_queue DROP COLUMN not_before"]
