"""A row that is held by `UPDATE message_queue SET status = 'held'` while it is sent stays in its sender's hand, as one
that `pillarbox queue hold` holds: released at once by another statement, it would go out a second time by another.

One that is set back to `pending` or `retry` in the meantime is its sender's claim again. Its time is five minutes, in
which he says what came of it; that of one whose process died ends at the next look.
"""

from __future__ import annotations

from collections.abc import Mapping

_RESTING = "new.status IN ('held', 'failed') AND new.next_retry_at IS NOT NULL"
_REST = "UPDATE message_queue SET next_retry_at = NULL WHERE id = new.id"
_LETTING_GO = "UPDATE message_queue SET next_retry_at = NULL, claimed_by = '' WHERE id = new.id"  # before this step
_BACK = "old.status IN ('held', 'failed') AND new.status IN ('pending', 'retry') AND new.claimed_by <> ''"
_CLAIM = "UPDATE message_queue SET status = 'processing', next_retry_at = {now} + 300 WHERE id = new.id"


def up(words: Mapping[str, str]) -> list[str]:
    if words["blob"] == "BLOB":
        claim = _CLAIM.format(now="CAST(strftime('%s', 'now') AS INTEGER)")
        return [
            "DROP TRIGGER queue_rest",
            f"CREATE TRIGGER queue_rest AFTER UPDATE OF status ON message_queue WHEN {_RESTING} BEGIN {_REST}; END",
            f"CREATE TRIGGER queue_back AFTER UPDATE OF status ON message_queue WHEN {_BACK} BEGIN {claim}; END",
        ]
    claim = _CLAIM.format(now="extract(epoch FROM now())::bigint")
    return [
        _function("note_queue_rest", _REST),
        _function("note_queue_back", claim),
        f"CREATE TRIGGER queue_back AFTER UPDATE OF status ON message_queue FOR EACH ROW WHEN ({_BACK}) "
        "EXECUTE FUNCTION note_queue_back()",
    ]


def down(words: Mapping[str, str]) -> list[str]:
    if words["blob"] == "BLOB":
        return [
            "DROP TRIGGER queue_back",
            "DROP TRIGGER queue_rest",
            f"CREATE TRIGGER queue_rest AFTER UPDATE OF status ON message_queue WHEN {_RESTING} "
            f"BEGIN {_LETTING_GO}; END",
        ]
    return [
        "DROP TRIGGER queue_back ON message_queue",
        "DROP FUNCTION note_queue_back()",
        _function("note_queue_rest", _LETTING_GO),
    ]


def _function(name: str, does: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NULL; END $$"
    )
