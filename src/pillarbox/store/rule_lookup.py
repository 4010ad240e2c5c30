"""Which route rules match: point reads, for whoever decides where a recipient's mail goes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pillarbox.store.addresses import SEPARATOR, domain_key, local_key
from pillarbox.store.tx import Row, Tx

Scope = Literal["sender", "recipient"]

MOST_PARENTS = 12  # of a domain, the shortest ones
FEW = 32  # rules that are read at once: less work than looking for each pattern
_WIDTHS = (4, 8, 16)  # numbers of placeholders: few texts, so that prepared statements are found again
_RULES = (
    "SELECT r.pattern, r.route_id, t.name, t.kind, r.accept, r.scope FROM route_rules r "
    "JOIN routes t ON t.id = r.route_id "
)
_FIRST = f"{_RULES} ORDER BY r.id LIMIT {FEW + 1}"
_MATCHING = {width: f"{_RULES} WHERE r.scope = ? AND r.pattern IN ({', '.join('?' * width)})" for width in _WIDTHS}


class Rule(NamedTuple):
    """A rule with what matters of its route."""

    pattern: str
    route_id: int
    route: str  # its name
    kind: str
    accept: bool


class Rules:
    """The rules as they are in one transaction. False when there are none."""

    __slots__ = ("_few", "_tx")

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        rows = tx.rows(_FIRST)
        # None: there are many, each pattern is looked for
        self._few = {(row[5], row[0]): _rule(row) for row in rows} if len(rows) <= FEW else None

    def __bool__(self) -> bool:
        return self._few is None or bool(self._few)

    def matching(self, scope: Scope, patterns: Sequence[str]) -> list[Rule]:
        """The rules of these patterns (at most 16), in the order of the patterns."""
        few = self._few
        if few is not None:
            return [few[scope, pattern] for pattern in patterns if (scope, pattern) in few]
        if not patterns:
            return []
        width = next(width for width in _WIDTHS if width >= len(patterns))
        padded = [*patterns, *[patterns[0]] * (width - len(patterns))]
        found = {row[0]: _rule(row) for row in self._tx.rows(_MATCHING[width], (scope, *padded))}
        return [found[pattern] for pattern in patterns if pattern in found]


def _rule(row: Row) -> Rule:
    pattern, route_id, name, kind, accept, _ = row
    return Rule(pattern, route_id, name, kind, bool(accept))


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
