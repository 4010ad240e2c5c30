"""Jobs that must run once, across workers and nodes, take a lease here."""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.store.tx import Tx


def acquire(tx: Tx, name: str, holder: str, seconds: int, alive: Callable[[str], bool] = lambda holder: True) -> bool:
    """Take or prolong the lease `name` for `seconds` from now; False while it is that of another who is `alive`."""
    has = tx.row("SELECT holder FROM leases WHERE name = ?", (name,))
    former = has[0] if has and not alive(has[0]) else holder
    if tx.run(
        "UPDATE leases SET holder = ?, expires_at = ? WHERE name = ? AND (holder IN (?, ?) OR expires_at <= ?)",
        (holder, tx.now + seconds, name, holder, former, tx.now),
    ):
        return True
    return bool(
        tx.run(
            "INSERT INTO leases (name, holder, expires_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
            (name, holder, tx.now + seconds),
        )
    )


def release(tx: Tx, name: str, holder: str) -> None:
    tx.run("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))
