"""Which route rules match: point reads, for whoever decides where a recipient's mail goes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pillarbox.store.addresses import SEPARATOR, domain_key, local_key
from pillarbox.store.tx import Tx

Scope = Literal["sender", "recipient"]

MOST_PARENTS = 12  # of a domain, the shortest ones
_WIDTHS = (4, 8, 16)  # numbers of placeholders: few texts, so that prepared statements are found again
_MATCHING = (
    "SELECT r.pattern, r.route_id, t.name, t.kind, r.accept FROM route_rules r JOIN routes t ON t.id = r.route_id "
    "WHERE r.scope = ? AND r.pattern IN ({})"
)
_STATEMENTS = {width: _MATCHING.format(", ".join("?" * width)) for width in _WIDTHS}


class Rule(NamedTuple):
    """A rule with what matters of its route."""

    pattern: str
    route_id: int
    route: str  # its name
    kind: str
    accept: bool


def any_rules(tx: Tx) -> bool:
    return tx.row("SELECT 1 FROM route_rules LIMIT 1") is not None


def matching(tx: Tx, scope: Scope, patterns: Sequence[str]) -> list[Rule]:
    """The rules of these patterns (at most 16), in the order of the patterns."""
    if not patterns:
        return []
    width = next(width for width in _WIDTHS if width >= len(patterns))
    padded = [*patterns, *[patterns[0]] * (width - len(patterns))]
    rows = tx.rows(_STATEMENTS[width], (scope, *padded))
    found = {pattern: Rule(pattern, id, name, kind, bool(accept)) for pattern, id, name, kind, accept in rows}
    return [found[pattern] for pattern in patterns if pattern in found]


def address_patterns(address: str) -> list[str]:
    """The address as rules have it, then without its detail. Empty for the null sender and the bare postmaster."""
    local, at, domain = address.rpartition("@")
    if not at:
        return []
    local, domain = local_key(local), domain_key(domain)
    base, plus, _ = local.partition(SEPARATOR)
    return [f"{local}@{domain}", f"{base}@{domain}"] if plus and base else [f"{local}@{domain}"]


def domain_patterns(domain: str) -> list[str]:
    """The domain, then its parents with a dot in front, the nearest first."""
    key = domain_key(domain)
    if not key or key.startswith("["):  # a literal has no parents
        return [key] if key else []
    labels = key.split(".")
    first = max(1, len(labels) - MOST_PARENTS)
    return [key, *("." + ".".join(labels[start:]) for start in range(first, len(labels)))]
