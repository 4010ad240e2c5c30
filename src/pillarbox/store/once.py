"""Work that must take effect once although it may be begun again: its mark is made in the transaction that does it."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.store.tx import Tx

_PREFIX = "once:"  # of the keys in store_meta


def first_time(tx: Tx, key: str) -> bool:
    """Make the mark; False when it is there already, so the work was committed. Another one's mark is waited for."""
    return bool(
        tx.run("INSERT INTO store_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (_PREFIX + key, "1"))
    )


def forget(tx: Tx, keys: Sequence[str]) -> None:
    """Nobody will begin this work again."""
    tx.many("DELETE FROM store_meta WHERE key = ?", [(_PREFIX + key,) for key in keys])
