"""The search index on PostgreSQL, beside the blobs. SQLite's is a file of its own (`search.db`), so nothing is here.

Derived: `pillarbox search rebuild` makes it anew.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLES = (
    """CREATE TABLE search_texts (
        blob_id BIGINT PRIMARY KEY REFERENCES blobs (id) ON DELETE CASCADE,
        version BIGINT NOT NULL,
        header TSVECTOR,
        body TSVECTOR
    )""",
    "CREATE INDEX idx_search_header ON search_texts USING GIN (header)",
    "CREATE INDEX idx_search_body ON search_texts USING GIN (body)",
)


def up(words: Mapping[str, str]) -> list[str]:
    return list(_TABLES) if words["blob"] == "BYTEA" else []


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE search_texts"] if words["blob"] == "BYTEA" else []
