"""Keys that are the server's own: made once at random, the same for every worker and node, never shown."""

from __future__ import annotations

import os

from pillarbox.store.tx import Tx

LENGTH = 32  # octets


def secret(tx: Tx, name: str) -> bytes | None:
    """The key of this name, or None when it was never needed. A point read."""
    row = tx.row("SELECT value FROM store_meta WHERE key = ?", (name,))
    return None if row is None else bytes.fromhex(row[0])


def forget_secret(tx: Tx, name: str) -> None:
    """What was made with the key of this name is worth nothing from here on."""
    tx.run("DELETE FROM store_meta WHERE key = ?", (name,))


def make_secret(tx: Tx, name: str) -> bytes:
    """The key of this name, made now if there is none."""
    tx.run(
        "INSERT INTO store_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
        (name, os.urandom(LENGTH).hex()),
    )
    made = secret(tx, name)
    assert made is not None
    return made
