"""Applying the numbered steps of `migrations`, and taking them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.store.errors import StoreError
from pillarbox.store.migrations import ALL, POSTGRESQL, SQLITE, Migration
from pillarbox.store.tx import Tx

CURRENT = ALL[-1].version

_LEAST = "least_program"  # in store_meta: the step that a program must know to work with this schema


class Applied(NamedTuple):
    version: int
    name: str


def version_of(tx: Tx) -> int:
    """The newest step in this database, 0 for an empty one."""
    if tx.engine == "sqlite":
        exists = tx.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'")
    else:
        exists = tx.row(
            "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_migrations'"
        )
    if exists is None:
        return 0
    row = tx.row("SELECT max(version) FROM schema_migrations")
    return (row[0] or 0) if row else 0


def upgrade(tx: Tx, steps: Sequence[Migration] = ALL) -> list[Applied]:
    """Apply what is missing, all within this transaction.

    A database of the next version of the program is left as it is (an upgrade overlaps them, a rollback returns).
    Raises StoreError when it is so much newer that this program would harm it.
    """
    words = SQLITE if tx.engine == "sqlite" else POSTGRESQL
    applied = []
    version = version_of(tx)
    if version > steps[-1].version:
        _refuse_too_new(tx, version, steps[-1].version)
    if version == 0:
        tx.run(
            "CREATE TABLE IF NOT EXISTS schema_migrations "
            f"(version {words['key']}, name TEXT NOT NULL, applied_at {words['int']} NOT NULL)"
        )
    for step in steps:
        if step.version <= version:
            continue
        for statement in step.up(words):
            tx.run(statement)
        tx.run(
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
            (step.version, step.name, tx.now),
        )
        if step.least:
            tx.run("DELETE FROM store_meta WHERE key = ?", (_LEAST,))
            tx.insert("INSERT INTO store_meta (key, value) VALUES (?, ?)", (_LEAST, str(step.least)))
        applied.append(Applied(step.version, step.name))
    return applied


def _refuse_too_new(tx: Tx, version: int, known: int) -> None:
    (least,) = tx.row("SELECT value FROM store_meta WHERE key = ?", (_LEAST,)) or ("0",)
    if int(least) > known:
        raise StoreError(
            f"the database has schema {version}, which programs can use that know step {least}; this one "
            f"knows {known}. Start the newer program again, or restore a backup that was made before it ran"
        )


def downgrade(tx: Tx, to_version: int, steps: Sequence[Migration] = ALL) -> list[Applied]:
    """Take back every step after `to_version`, newest first. Data that only those steps know is lost."""
    words = SQLITE if tx.engine == "sqlite" else POSTGRESQL
    taken = []
    version = version_of(tx)
    for step in reversed(steps):
        if not to_version < step.version <= version:
            continue
        for statement in step.down(words):
            tx.run(statement)
        tx.run("DELETE FROM schema_migrations WHERE version = ?", (step.version,))
        if step.least:
            before = max((other.least for other in steps if other.version < step.version), default=0)
            tx.run("UPDATE store_meta SET value = ? WHERE key = ?", (str(before), _LEAST))
        taken.append(Applied(step.version, step.name))
    return taken
