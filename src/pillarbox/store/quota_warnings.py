"""Who has to be told that a quota is nearly used up, or was told and need not be any more."""

from __future__ import annotations

import msgspec

from pillarbox.store import quota
from pillarbox.store.quota import ACCOUNT_ROOT, DOMAIN_ROOT, QuotaRoot
from pillarbox.store.tx import Tx

_ACCOUNTS = (
    "SELECT id FROM users WHERE enabled = 1 AND (quota_warned > 0 OR quota_messages > 0 "
    "OR (quota_limit > 0 AND quota_used >= quota_limit / 100 * ?)) ORDER BY id"
)
_DOMAINS = "SELECT id FROM domains WHERE quota_warned > 0 OR quota_limit > 0 OR quota_messages > 0 ORDER BY id"


class Watched(msgspec.Struct, frozen=True):
    """An account, or a domain (`user_id` None); `warned`: per cent that it was told of."""

    root: QuotaRoot
    address: str
    user_id: int | None
    warned: int

    def note(self, tx: Tx, level: int) -> None:
        """It was told of so many per cent."""
        if self.user_id is not None:
            tx.run("UPDATE users SET quota_warned = ? WHERE id = ?", (level, self.user_id))
        else:
            name = self.root.name.removeprefix(DOMAIN_ROOT)
            tx.run("UPDATE domains SET quota_warned = ? WHERE name = ?", (level, name))


def candidates(tx: Tx, least: int) -> list[int]:
    """Accounts by id, and domains by their negative id, that may stand at another threshold; `least`: the lowest one.

    A scan over the accounts.
    """
    found = [row[0] for row in tx.rows(_ACCOUNTS, (least,))]
    return found + [-row[0] for row in tx.rows(_DOMAINS)]


def watched(tx: Tx, candidate: int) -> Watched | None:
    """What `candidates` named, as it is now; None when it is gone."""
    if candidate > 0:
        row = tx.row("SELECT username, email, quota_warned FROM users WHERE id = ?", (candidate,))
        root = row and quota.root(tx, ACCOUNT_ROOT + row[0])
        return Watched(root, row[1], candidate, row[2]) if row and root else None
    row = tx.row("SELECT name, quota_warned FROM domains WHERE id = ?", (-candidate,))
    root = row and quota.root(tx, DOMAIN_ROOT + row[0])
    return Watched(root, f"postmaster@{row[0]}", None, row[1]) if row and root else None
