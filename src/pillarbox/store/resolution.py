"""Where mail for an address goes: users, aliases, user+detail, catch-all, postmaster.

A domain is ours when it is in `domains` and enabled, or when an enabled user has an address in it.
"""

from __future__ import annotations

from pillarbox.store.addresses import SEPARATOR, domain_key, local_key
from pillarbox.store.records import Resolution
from pillarbox.store.tx import Tx

MAX_DEPTH = 10  # aliases that lead to aliases
MAX_TARGETS = 200  # of one address in all

_USER = "SELECT id, username, enabled FROM users WHERE lower(email) = lower(?)"
_DOMAIN = "SELECT enabled, catch_all FROM domains WHERE name = ?"
_ANY_USER_IN = "SELECT 1 FROM users WHERE email_domain = ? AND enabled = 1 LIMIT 1"
_ALIASES = "SELECT target FROM aliases WHERE address = ? ORDER BY target LIMIT ?"
_OLDEST = (
    "SELECT id, username FROM users WHERE enabled = 1 ORDER BY CASE WHEN role = 'admin' THEN 0 ELSE 1 END, id LIMIT 1"
)


def resolve(tx: Tx, local: str, domain: str) -> Resolution:
    """Where mail for local@domain goes. An empty domain is that of the bare <Postmaster> (RFC 5321 section 4.1.1.3)."""
    search = _Search(tx)
    key = domain_key(domain)
    is_postmaster = local_key(local) == "postmaster"
    if key == "" and is_postmaster:
        return Resolution(True, *_responsible(tx))
    if not search.is_local(key):
        return Resolution(False, [], [], "not local")
    search.follow(local, key, 0)
    if is_postmaster and not search.users and not search.forward:
        return Resolution(True, *_responsible(tx))  # RFC 5321 section 4.5.1
    reason = "" if search.users or search.forward else search.reason or "unknown user"
    return Resolution(True, [*search.users.items()], [*search.forward], reason)


def is_local_domain(tx: Tx, domain: str) -> bool:
    return _Search(tx).is_local(domain_key(domain))


class _Search:
    """What was found so far; an address is followed once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._seen: set[str] = set()
        self.users: dict[int, str] = {}
        self.forward: dict[str, None] = {}
        self.reason = ""

    def is_local(self, domain: str) -> bool:
        row = self._tx.row(_DOMAIN, (domain,))
        if row is not None:
            return bool(row[0])
        return self._tx.row(_ANY_USER_IN, (domain,)) is not None

    def follow(self, local: str, domain: str, depth: int) -> None:
        """Add where this address, whose domain is ours, leads."""
        if self._seen and depth > MAX_DEPTH:
            self.reason = self.reason or "alias loop"
            return
        if self._exact(local, domain, depth):
            return
        base, plus, _ = local.partition(SEPARATOR)
        if plus and base and self._exact(base, domain, depth):
            return
        row = self._tx.row(_DOMAIN, (domain,))
        if row is not None and row[1]:
            self._target(row[1], depth)

    def _exact(self, local: str, domain: str, depth: int) -> bool:
        """Aliases or the user of exactly this address; True when there was something, even if it is disabled."""
        address = f"{local_key(local)}@{domain}"
        if address in self._seen:
            self.reason = self.reason or "alias loop"
            return True
        targets = self._tx.rows(_ALIASES, (address, MAX_TARGETS))
        row = self._tx.row(_USER, (address,))
        if not targets and row is None:
            return False
        self._seen.add(address)
        for (target,) in targets:
            self._target(target, depth)
        if targets:
            return True
        assert row is not None
        user_id, username, enabled = row
        if enabled:
            self.users[user_id] = username
        else:
            self.reason = "disabled"
        return True

    def _target(self, address: str, depth: int) -> None:
        if len(self.users) + len(self.forward) >= MAX_TARGETS:
            return
        local, _, domain = address.rpartition("@")
        if not self.is_local(domain):
            self.forward[address] = None
        elif address in self._seen and (row := self._tx.row(_USER, (address,))) is not None and row[2]:
            self.users[row[0]] = row[1]  # an alias of an address to itself and others: "and keep a copy"
        else:
            self.follow(local, domain, depth + 1)


def _responsible(tx: Tx) -> tuple[list[tuple[int, str]], list[str], str]:
    """Who reads a postmaster's mail where nobody was named: the oldest administrator, else the oldest user."""
    row = tx.row(_OLDEST)
    return ([(row[0], row[1])], [], "") if row else ([], [], "nobody yet")
