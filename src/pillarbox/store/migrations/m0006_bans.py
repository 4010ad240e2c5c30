"""Addresses that may not log in for a while. Whoever changes the table, the directory's version grows: workers look."""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """CREATE TABLE bans (
    id {id},
    network TEXT NOT NULL UNIQUE,
    reason TEXT NOT NULL DEFAULT '',
    offences {int} NOT NULL DEFAULT 1,
    created_at {int} NOT NULL,
    expires_at {int} NOT NULL
)"""
_NOTE = "UPDATE store_counters SET value = value + 1 WHERE id = 3"
_EVENTS = ("INSERT", "DELETE", "UPDATE")


def up(words: Mapping[str, str]) -> list[str]:
    if words["blob"] == "BLOB":
        triggers = [f"CREATE TRIGGER bans_{e.lower()} AFTER {e} ON bans BEGIN {_NOTE}; END" for e in _EVENTS]
    else:
        triggers = [
            "CREATE TRIGGER bans_changed AFTER INSERT OR DELETE OR UPDATE ON bans "
            "FOR EACH STATEMENT EXECUTE FUNCTION note_directory()"
        ]
    return [_TABLE.format(**words), *triggers]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE bans"]
