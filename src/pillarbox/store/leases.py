"""Jobs that must run once, across workers and nodes, take a lease here."""

from __future__ import annotations

from pillarbox.store.tx import Tx


def acquire(tx: Tx, name: str, holder: str, seconds: int) -> bool:
    """Take or prolong the lease `name` for `seconds` from now; False while another holder's runs."""
    if tx.run(
        "UPDATE leases SET holder = ?, expires_at = ? WHERE name = ? AND (holder = ? OR expires_at <= ?)",
        (holder, tx.now + seconds, name, holder, tx.now),
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
