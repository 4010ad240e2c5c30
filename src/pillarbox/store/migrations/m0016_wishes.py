"""`wish`: what an operator ordered for a row that was being sent just then. Whoever sends it obeys as soon as he can.

Its index finds rows that are in somebody's hand though they are not to be sent any more, also those that were held by
hand. There are hardly ever any.
"""

from __future__ import annotations

from collections.abc import Mapping

_CALLED = "claimed_by <> '' AND (wish <> '' OR status <> 'processing')"  # also in `queue_wishes`


def up(words: Mapping[str, str]) -> list[str]:
    return [
        "ALTER TABLE message_queue ADD COLUMN wish TEXT NOT NULL DEFAULT ''",
        f"CREATE INDEX idx_queue_called ON message_queue (claimed_by) WHERE {_CALLED}",
    ]


def down(words: Mapping[str, str]) -> list[str]:
    """What was to be deleted or returned must not be sent by a program that knows no wishes: it is held."""
    return [
        "DROP INDEX idx_queue_called",
        "UPDATE message_queue SET status = 'held' WHERE wish <> ''",
        "ALTER TABLE message_queue DROP COLUMN wish",
    ]
