"""Where mail for an address goes: aliases, lists, users, a list's own addresses, user+detail, catch-all, postmaster.

A domain is ours when it is in `domains` and enabled, or when an enabled user has an address in it.
"""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.store.addresses import SEPARATOR, domain_key, local_key
from pillarbox.store.records import Resolution
from pillarbox.store.tx import Tx

MAX_DEPTH = 10  # aliases that lead to aliases
MAX_TARGETS = 200  # of one address in all
# LIST-bounces and the like are read by the list's owner (RFC 2142 section 6).
LIST_SUFFIXES = ("-bounces", "-owner", "-request")

Note = Callable[[str, str], None]  # a step of the search and what was found, for people

_USER = "SELECT id, username, enabled FROM users WHERE lower(email) = lower(?)"
_DOMAIN = "SELECT enabled, catch_all FROM domains WHERE name = ?"
_ANY_USER_IN = "SELECT 1 FROM users WHERE email_domain = ? AND enabled = 1 LIMIT 1"
_ALIASES = "SELECT target FROM aliases WHERE address = ? ORDER BY target LIMIT ?"
_LIST = "SELECT id, address, owner FROM lists WHERE address = ?"
_OLDEST = (
    "SELECT id, username FROM users WHERE enabled = 1 ORDER BY CASE WHEN role = 'admin' THEN 0 ELSE 1 END, id LIMIT 1"
)


def resolve(tx: Tx, local: str, domain: str, note: Note | None = None) -> Resolution:
    """Where mail for local@domain goes. An empty domain is that of the bare <Postmaster> (RFC 5321 section 4.1.1.3).

    `note` is told of each step.
    """
    search = _Search(tx, note or silent)
    key = domain_key(domain)
    is_postmaster = local_key(local) == "postmaster"
    if key == "" and is_postmaster:
        return search.responsible()
    if not search.is_local(key):
        search.tell_domain(key, ours=False)
        return Resolution(False, [], [], "not local")
    search.tell_domain(key, ours=True)
    search.follow(local, key, 0)
    found = bool(search.users or search.forward or search.lists)
    if is_postmaster and not found:
        return search.responsible()  # RFC 5321 section 4.5.1
    reason = "" if found else search.reason or "unknown user"
    return Resolution(True, [*search.users.items()], [*search.forward], reason, [*search.lists.items()])


def is_local_domain(tx: Tx, domain: str) -> bool:
    return _Search(tx, silent).is_local(domain_key(domain))


def silent(step: str, text: str) -> None:
    """Nobody wants to know."""


class _Search:
    """What was found so far; an address is followed once."""

    def __init__(self, tx: Tx, note: Note) -> None:
        self._tx = tx
        self._note = note
        self._seen: set[str] = set()
        self.users: dict[int, str] = {}
        self.forward: dict[str, None] = {}
        self.lists: dict[int, str] = {}
        self.reason = ""

    def is_local(self, domain: str) -> bool:
        row = self._tx.row(_DOMAIN, (domain,))
        if row is not None:
            return bool(row[0])
        return self._tx.row(_ANY_USER_IN, (domain,)) is not None

    def tell_domain(self, domain: str, *, ours: bool) -> None:
        if self._note is silent:
            return
        if self._tx.row(_DOMAIN, (domain,)) is None:
            why = "an account has an address in it" if ours else "nobody has an address in it"
        else:
            why = "it is one of the domains" if ours else "it is one of the domains, but disabled"
        self._note("domain", f"{domain} is {'ours' if ours else 'not ours'}: {why}")

    def follow(self, local: str, domain: str, depth: int) -> None:
        """Add where this address, whose domain is ours, leads."""
        if self._seen and depth > MAX_DEPTH:
            self._note("alias", f"more than {MAX_DEPTH} aliases lead to one another")
            self.reason = self.reason or "alias loop"
            return
        if self._exact(local, domain, depth) or self._of_list(local, domain, depth):
            return
        base, plus, detail = local.partition(SEPARATOR)
        if plus and base:
            self._note("subaddress", f"{local}: {base} with the detail {detail!r}")
            if self._exact(base, domain, depth):
                return
        row = self._tx.row(_DOMAIN, (domain,))
        if row is not None and row[1]:
            self._note("catch-all", f"unknown addresses of {domain} go to {row[1]}")
            self._target(row[1], depth)

    def responsible(self) -> Resolution:
        """Who reads a postmaster's mail where nobody was named: the oldest administrator, else the oldest user."""
        row = self._tx.row(_OLDEST)
        if row is None:
            self._note("postmaster", "nobody has an account here yet")
            return Resolution(True, [], [], "nobody yet")
        self._note("postmaster", f"nobody was named; read by {row[1]}")
        return Resolution(True, [(row[0], row[1])], [])

    def _exact(self, local: str, domain: str, depth: int) -> bool:
        """Aliases, list or user of exactly this address; True when there was something, even if it is disabled."""
        address = f"{local_key(local)}@{domain}"
        if address in self._seen:
            self._note("alias", f"{address} was met before")
            self.reason = self.reason or "alias loop"
            return True
        targets = self._tx.rows(_ALIASES, (address, MAX_TARGETS))
        if targets:
            self._seen.add(address)
            self._note("alias", f"{address} leads to {', '.join(target for (target,) in targets)}")
            for (target,) in targets:
                self._target(target, depth)
            return True
        found = self._tx.row(_LIST, (address,))
        if found is not None:
            self._seen.add(address)
            self._note("list", f"{address} is a distribution list")
            self.lists[found[0]] = address
            return True
        row = self._tx.row(_USER, (address,))
        if row is None:
            return False
        self._seen.add(address)
        user_id, username, enabled = row
        self._note("user", f"{address} is the account {username}" + ("" if enabled else ", which is disabled"))
        if enabled:
            self.users[user_id] = username
        else:
            self.reason = "disabled"
        return True

    def _of_list(self, local: str, domain: str, depth: int) -> bool:
        """LIST-bounces and the other addresses that a list has: its owner reads them."""
        name = local_key(local)
        for suffix in LIST_SUFFIXES:
            if not name.endswith(suffix) or name == suffix:
                continue
            found = self._tx.row(_LIST, (f"{name.removesuffix(suffix)}@{domain}",))
            if found is not None:
                owner = found[2] or f"postmaster@{domain}"
                self._note("list", f"{name}@{domain} is read by the owner of {found[1]}, {owner}")
                self._seen.add(f"{name}@{domain}")
                self._target(owner, depth)
                return True
        return False

    def _target(self, address: str, depth: int) -> None:
        if len(self.users) + len(self.forward) + len(self.lists) >= MAX_TARGETS:
            return
        local, _, domain = address.rpartition("@")
        if not self.is_local(domain):
            self._note("elsewhere", f"{address} is not ours")
            self.forward[address] = None
        elif address in self._seen and (row := self._tx.row(_USER, (address,))) is not None and row[2]:
            self._note("user", f"{address} keeps a copy for the account {row[1]}")
            self.users[row[0]] = row[1]  # an alias of an address to itself and others: "and keep a copy"
        else:
            self.follow(local, domain, depth + 1)
