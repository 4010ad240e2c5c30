"""The tables of a store as a copy of all of it has to know them: parents before their children, columns, kinds.

They are read from a schema that is made for it in memory, so that a later step needs nothing here. Both engines have
the same columns; what only one of them has (words for SEARCH on PostgreSQL) is derived.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pillarbox.store.check_schema import newest

Kind = Literal["INTEGER", "TEXT", "BLOB"]

# What a store has before anybody used it: a copy replaces it.
FOUNDED = ("store_meta", "store_counters", "leases")

_TABLES = (
    "SELECT name, sql LIKE '%AUTOINCREMENT%' FROM sqlite_master "
    "WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'schema_migrations' ORDER BY rowid"
)


class Table(NamedTuple):
    """`counts`: its ids are given by the database, and none twice."""

    name: str
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    key: str
    counts: bool

    @property
    def listed(self) -> str:
        """The columns as SQL has them."""
        return ", ".join(f'"{column}"' for column in self.columns)


def tables() -> list[Table]:
    """All but that of the schema itself."""
    with newest() as tx:
        found = []
        for name, counts in tx.rows(_TABLES):
            about = tx.rows("SELECT name, type, pk FROM pragma_table_info(?)", (name,))
            (key,) = (column for column, _, position in about if position)
            columns, kinds = (tuple(row[at] for row in about) for at in (0, 1))
            found.append(Table(name, columns, kinds, key, bool(counts)))
        return found
