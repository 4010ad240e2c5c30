"""Bans after failed logins: kept here, so that a restart does not forget them and every node knows of them.

A ban that is over stays for a week: whoever comes back in that time is banned for twice as long.
"""

from __future__ import annotations

from pillarbox.store.errors import NotFound
from pillarbox.store.records import BanRow
from pillarbox.store.tx import DIRECTORY, Tx

REMEMBERED = 7 * 86_400  # seconds after its end
LONGEST = 7 * 86_400  # seconds

_COLUMNS = "network, reason, offences, created_at, expires_at"


def ban(tx: Tx, network: str, seconds: int, reason: str) -> BanRow:
    """Ban a network (text, as `ipaddress` has it) from now on, longer after earlier bans; one that holds stays."""
    tx.run("DELETE FROM bans WHERE expires_at < ?", (tx.now - REMEMBERED,))
    row = tx.row(f"SELECT {_COLUMNS} FROM bans WHERE network = ?", (network,))
    if row is None:
        made = BanRow(network, reason, 1, tx.now, tx.now + seconds)
        tx.insert(
            f"INSERT INTO bans ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
            (network, reason, made.offences, made.created_at, made.expires_at),
        )
    else:
        known = BanRow(*row)
        if known.expires_at > tx.now:
            return known
        lasts = min(seconds << min(known.offences, 20), max(LONGEST, seconds))
        made = BanRow(network, reason, known.offences + 1, tx.now, tx.now + lasts)
        tx.run(
            "UPDATE bans SET reason = ?, offences = ?, created_at = ?, expires_at = ? WHERE network = ?",
            (reason, made.offences, made.created_at, made.expires_at, network),
        )
    tx.touch(*DIRECTORY)
    return made


def remove(tx: Tx, network: str) -> None:
    """Lift a ban and forget it. Raises NotFound."""
    if not tx.run("DELETE FROM bans WHERE network = ?", (network,)):
        raise NotFound(f"{network} is not banned")
    tx.touch(*DIRECTORY)


def holding(tx: Tx) -> list[BanRow]:
    """The bans that hold now, the newest first."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM bans WHERE expires_at > ? ORDER BY created_at DESC, id DESC", (tx.now,))
    return [BanRow(*row) for row in rows]
