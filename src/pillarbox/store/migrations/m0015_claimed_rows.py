"""Rows that are being sent are not in the indexes of those that wait: most are put there as somebody's claim and
removed a moment later, and each index that they enter is a page more to write and to sync, twice.

The indexes keep their documented names. By them are found rows that nobody would ever claim, see `queue_aside.sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping

_INDEXES = {"idx_queue_next_retry": "next_retry_at", "idx_queue_priority": "priority DESC"}
_WAITING = " WHERE status <> 'processing'"


def up(words: Mapping[str, str]) -> list[str]:
    return _made_anew(_WAITING)


def down(words: Mapping[str, str]) -> list[str]:
    return _made_anew("")


def _made_anew(condition: str) -> list[str]:
    return [
        statement
        for name, columns in _INDEXES.items()
        for statement in (f"DROP INDEX {name}", f"CREATE INDEX {name} ON message_queue ({columns}){condition}")
    ]
