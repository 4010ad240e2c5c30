"""Routes that operators name, and the rules that say which mail takes them.

Whatever changes here counts as a change of the directory. Rows that wait in the queue keep their destination until
they are routed anew: `queue.in_pages(store, queue.reroute, QueueFilter())`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import msgspec

from pillarbox.store import directory
from pillarbox.store.addresses import address_key, domain_key, domain_name
from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.records import RouteRow, RouteRule
from pillarbox.store.tx import Tx

KINDS = ("mx", "smarthost", "lmtp", "backup", "discard", "hold")
TLS = ("never", "may", "require", "verify", "implicit")
SCOPES = ("recipient", "sender")

_ROUTE = (
    "id, name, kind, host, port, tls, username, password, ehlo_name, source_ipv4, source_ipv6, concurrency, "
    "created_at, updated_at"
)
_RULE = "id, scope, pattern, route_id, accept, created_at"
_NEEDS_HOST = ("smarthost", "lmtp")
SOCKET = "unix:"  # may stand in front of the path of a socket
_CHANGEABLE = (
    "kind",
    "host",
    "port",
    "tls",
    "username",
    "password",
    "ehlo_name",
    "source_ipv4",
    "source_ipv6",
    "concurrency",
)


def create_route(tx: Tx, name: str, kind: str, **columns: Any) -> RouteRow:
    """A route; `columns` as in RouteRow (host, port, tls, ...). Raises Conflict, Invalid."""
    if not name or len(name) > 100 or any(c <= " " or c == "\x7f" for c in name):
        raise Invalid(f"{name!r} is no name for a route: it is empty, too long, or has blanks in it")
    if tx.row("SELECT 1 FROM routes WHERE name = ?", (name,)):
        raise Conflict(f"route {name} already exists")
    tx.insert(
        "INSERT INTO routes (name, kind, port, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        (name, kind, 24 if kind == "lmtp" else 25, tx.now, tx.now),
    )
    return set_route(tx, name, **columns)


def set_route(tx: Tx, name: str, **columns: Any) -> RouteRow:
    """Change what is given. Raises NotFound, Invalid."""
    before = route_named(tx, name)
    if unknown := columns.keys() - set(_CHANGEABLE):
        raise Invalid(f"a route has no {', '.join(sorted(unknown))}")
    after = _checked(msgspec.structs.replace(before, **columns, updated_at=tx.now))
    tx.run(
        f"UPDATE routes SET {', '.join(f'{column} = ?' for column in _CHANGEABLE)}, updated_at = ? WHERE id = ?",
        (*(getattr(after, column) for column in _CHANGEABLE), tx.now, before.id),
    )
    directory.changed(tx)
    return after


def holding(tx: Tx) -> dict[int, str]:
    """The names of routes that hold, by id."""
    return dict(tx.rows("SELECT id, name FROM routes WHERE kind = 'hold'"))


def delete_route(tx: Tx, name: str) -> int:
    """Its id. What waits in the queue for it must be routed anew. Raises NotFound; Conflict while rules lead to it."""
    found = route_named(tx, name)
    rules = [rule.pattern for rule in rules_of(tx, found.id)]
    if rules:
        raise Conflict(f"route {name} is used by the rules for {', '.join(rules[:5])}")
    tx.run("DELETE FROM routes WHERE id = ?", (found.id,))
    directory.changed(tx)
    return found.id


def get(tx: Tx, route_id: int) -> RouteRow | None:
    """A point read."""
    row = tx.row(f"SELECT {_ROUTE} FROM routes WHERE id = ?", (route_id,))
    return None if row is None else RouteRow(*row)


def route_named(tx: Tx, name: str) -> RouteRow:
    """Raises NotFound."""
    row = tx.row(f"SELECT {_ROUTE} FROM routes WHERE name = ?", (name,))
    if row is None:
        raise NotFound(f"no route {name!r}")
    return RouteRow(*row)


def routes(tx: Tx) -> list[RouteRow]:
    return [RouteRow(*row) for row in tx.rows(f"SELECT {_ROUTE} FROM routes ORDER BY name")]


def add_rule(tx: Tx, scope: str, pattern: str, route: str, *, accept: bool = False) -> RouteRule:
    """Mail for (or from) what the pattern means takes the route; it replaces the pattern's rule of before.

    Raises NotFound, Invalid.
    """
    if scope not in SCOPES:
        raise Invalid(f"the scope of a rule is {' or '.join(SCOPES)}, not {scope!r}")
    too_much = pattern == "*" or (pattern.startswith(".") and "." not in pattern[1:])
    if accept and (scope != "recipient" or too_much):
        raise Invalid("mail of strangers can be accepted for an address, a domain, or what is below one (.example.org)")
    key, route_id = _sensible(pattern), route_named(tx, route).id
    tx.run("DELETE FROM route_rules WHERE scope = ? AND pattern = ?", (scope, key))
    rule_id = tx.insert(
        "INSERT INTO route_rules (scope, pattern, route_id, accept, created_at) VALUES (?, ?, ?, ?, ?)",
        (scope, key, route_id, int(accept), tx.now),
    )
    directory.changed(tx)
    return RouteRule(rule_id, scope, key, route_id, accept, tx.now)


def remove_rule(tx: Tx, scope: str, pattern: str) -> None:
    """Raises NotFound, Invalid."""
    if not tx.run("DELETE FROM route_rules WHERE scope = ? AND pattern = ?", (scope, pattern_key(pattern))):
        raise NotFound(f"no {scope} rule for {pattern}")
    directory.changed(tx)


def rules(tx: Tx) -> list[RouteRule]:
    return [_rule(row) for row in tx.rows(f"SELECT {_RULE} FROM route_rules ORDER BY scope, pattern")]


def rules_of(tx: Tx, route_id: int) -> list[RouteRule]:
    """The rules that lead to a route."""
    rows = tx.rows(f"SELECT {_RULE} FROM route_rules WHERE route_id = ? ORDER BY scope, pattern", (route_id,))
    return [_rule(row) for row in rows]


def pattern_key(pattern: str) -> str:
    """An address, a domain, a .parent or * in the form that compares. Raises Invalid."""
    if pattern == "*":
        return pattern
    if "@" in pattern:
        return address_key(pattern)
    dot = "." if pattern.startswith(".") else ""
    key = domain_key(pattern.removeprefix("."))
    if not key or len(key) > 253 or any(c <= " " or c in "\x7f*" for c in key) or ".." in key:
        raise Invalid(f"{pattern!r} is no address, domain, .parent or *")
    return dot + key


def _sensible(pattern: str) -> str:
    """The key of a pattern that some mail can have. Raises Invalid."""
    key = pattern_key(pattern)
    local, at, domain = key.rpartition("@")
    if at and local == "*":
        raise Invalid(f"{pattern!r} would be a single address; all of the domain is {domain!r}")
    if key != "*":
        domain_name(domain.removeprefix("."))
    return key


def _rule(row: tuple[Any, ...]) -> RouteRule:
    rule_id, scope, pattern, route_id, accept, created_at = row
    return RouteRule(rule_id, scope, pattern, route_id, bool(accept), created_at)


def _checked(route: RouteRow) -> RouteRow:
    """With its host as the DNS has it. Raises Invalid."""
    if route.kind not in KINDS:
        raise Invalid(f"the kind of a route is one of {', '.join(KINDS)}, not {route.kind!r}")
    if route.tls not in TLS:
        raise Invalid(f"the TLS of a route is one of {', '.join(TLS)}, not {route.tls!r}")
    if not 1 <= route.port <= 65535:
        raise Invalid(f"{route.port} is no port")
    if not 0 <= route.concurrency <= 1000:
        raise Invalid("the concurrency of a route is 1 to 1000, or 0 to learn it")
    if route.ehlo_name:
        try:
            domain_name(route.ehlo_name)
        except Invalid:
            raise Invalid(f"{route.ehlo_name!r} is no name for EHLO: give a host's name") from None
    return msgspec.structs.replace(route, host=_host(route.kind, route.host))


def _host(kind: str, host: str) -> str:
    """Raises Invalid for what no connection can be made to: the mail would wait, and then come back."""
    if kind not in _NEEDS_HOST:
        if host:
            raise Invalid(f"a {kind} route has no host; mail goes to one by a smarthost or an lmtp route")
        return ""
    if not host:
        raise Invalid(f"a {kind} route needs a host")
    if host.removeprefix(SOCKET).startswith("/"):
        return host
    try:
        return str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        return domain_name(host)
    except Invalid:
        why = "the port has an option of its own" if host.rpartition(":")[2].isdecimal() else "give a name, an address"
        raise Invalid(f"{host!r} is no host: {why}, or for a socket its whole path") from None
