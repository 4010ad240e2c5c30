"""Where the queue sends a recipient's mail: by a rule of the operator's, else to the MX of the domain.

The first rule that matches decides, in this order: sender, sender's domain and its parents (`.example.org`),
recipient, recipient's domain and its parents, `*`. A destination is a name:

    mx example.org            the hosts that DNS names for example.org
    route 3                   the host or socket of route 3
    route 3 example.org       the hosts of example.org, in the manner of route 3 (kinds mx and backup)
    local                     the mailboxes here, for what was to be delivered later (`local_delivery`)

so that rows for one next hop share a destination whatever rule led there.

Where an operator moved a row it stays. A row that a rule had us hold keeps that rule's route; once released it goes
where the other rules say.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec.structs import replace

from pillarbox.store import events, queue, queue_claim, queue_settle, routes
from pillarbox.store.addresses import domain_key
from pillarbox.store.records import Queued, QueueFilter
from pillarbox.store.resolution import is_local_domain
from pillarbox.store.rule_lookup import Rule, Rules, Scope, address_patterns, domain_patterns
from pillarbox.store.tx import Tx

from .story import entry

Action = Literal["send", "hold", "discard"]

LOCAL = "local"
_BY_DOMAIN = ("mx", "backup")  # kinds of route whose hosts are those of the recipient's domain


class Decision(NamedTuple):
    """The next hop of one recipient.

    `route_id` is the route that was chosen, None for the plain MX. `why` is for people. With "hold" the name is that
    of the destination that follows when the row is released; with "discard" it is "".
    """

    name: str
    route_id: int | None
    why: str
    action: Action = "send"


def adopt(tx: Tx, limit: int) -> int:
    """Give at most `limit` rows that wait for one their destination; how many there were."""
    found = queue_claim.unrouted(tx, limit)
    by_sender: dict[str, Destinations] = {}
    assigned: list[tuple[int, str, int | None]] = []
    held: list[int] = []
    discarded: dict[int, str] = {}
    for row in queue_claim.aside(tx, found):
        if row.sender not in by_sender:
            by_sender[row.sender] = Destinations(tx, row.sender)
        decision = by_sender[row.sender].of(row.recipient, row.route_id)
        if decision.action == "discard":
            discarded[row.id] = decision.why
            continue
        assigned.append((row.id, decision.name, decision.route_id if row.route_id is None else row.route_id))
        if decision.action == "hold":
            held.append(row.id)
    queue_claim.assign(tx, assigned)
    if held:
        queue.hold(tx, QueueFilter(ids=tuple(held)), len(held))
    if discarded:
        _discard(tx, discarded)
    return len(found)


class Routing:
    """Decides for all recipients of one transaction that nobody has moved, and remembers what it decided."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._known = tx.remembered()
        self._by_sender: dict[str, Destinations] = {}

    def of(self, sender: str, recipient: str) -> Decision:
        """The destination for an address elsewhere."""
        key = "destination", sender, recipient
        decision: Decision | None = self._known.get(key)
        if decision is None:
            destinations = self._by_sender.get(sender)
            if destinations is None:
                destinations = self._by_sender[sender] = Destinations(self._tx, sender)
            decision = self._known[key] = destinations.of(recipient)
        return decision


class Destinations:
    """Decides for the recipients of one sender, within one transaction: what they share is looked up once."""

    def __init__(self, tx: Tx, sender: str) -> None:
        self._tx = tx
        self._domains: dict[str, list[Rule]] = {}
        self._rules = Rules(tx)
        self._ours: dict[str, bool] = {}
        self._sender: list[Rule] = []
        if self._rules and sender:
            domain = sender.rpartition("@")[2]
            patterns = [*address_patterns(sender), *domain_patterns(domain)]
            self._sender = self._rules.matching("sender", patterns)

    def of(self, recipient: str, forced: int | None = None) -> Decision:
        """The destination for one recipient, an address elsewhere. Point reads.

        `forced` is the route that an operator moved the row to, or that held it until it was released.
        """
        domain = domain_key(recipient.rpartition("@")[2])
        released = False
        if forced is not None and (route := routes.get(self._tx, forced)) is not None:
            if route.kind != "hold":
                return _taken(forced, route.kind, domain, f"it was moved to route {route.name} ({route.kind})")
            released = True
        if self._is_ours(recipient, domain):
            return Decision(LOCAL, None, f"{domain} is a domain of ours")
        if not self._rules:
            return Decision(f"mx {domain}", None, f"no rule; the MX of {domain}")
        return self._decide(recipient, domain, released=released)

    def _is_ours(self, recipient: str, domain: str) -> bool:
        """Whether the mailboxes here have it: not what a rule takes from strangers for a server behind us."""
        ours = self._ours.get(domain)
        if ours is None:
            ours = self._ours[domain] = is_local_domain(self._tx, domain)
        if not ours or not self._rules:
            return ours
        patterns = [*address_patterns(recipient), *domain_patterns(domain)]
        return not any(rule.accept for rule in self._rules.matching("recipient", patterns))

    def _decide(self, recipient: str, domain: str, *, released: bool) -> Decision:
        held: Decision | None = None
        for scope, rule in self._matching(recipient, domain):
            why = f"the {scope} rule {rule.pattern} says route {rule.route} ({rule.kind})"
            if rule.kind == "hold":
                held = held or Decision("", rule.route_id, why, "hold")
            elif held is None or released:
                return _taken(rule.route_id, rule.kind, domain, why)
            elif rule.kind != "discard":
                return held._replace(name=name_of(rule.route_id, rule.kind, domain))
        if held is not None and not released:
            return held._replace(name=f"mx {domain}")
        return Decision(f"mx {domain}", None, f"no rule matches; the MX of {domain}")

    def _matching(self, recipient: str, domain: str) -> list[tuple[Scope, Rule]]:
        of_domain = self._domains.get(domain)
        if of_domain is None:
            patterns = [*domain_patterns(domain), "*"]
            of_domain = self._domains[domain] = self._rules.matching("recipient", patterns)
        of_address = self._rules.matching("recipient", address_patterns(recipient))
        senders: list[tuple[Scope, Rule]] = [("sender", rule) for rule in self._sender]
        return senders + [("recipient", rule) for rule in (*of_address, *of_domain)]


def placed(row: Queued, decision: Decision) -> Queued | None:
    """The row with its destination, held where a rule says so; None where one discards it."""
    if row.destination == LOCAL:
        return row
    if decision.action == "discard":
        return None
    held = row.held or decision.action == "hold"
    return replace(row, destination=decision.name, route_id=decision.route_id, held=held)


def _discard(tx: Tx, why: dict[int, str]) -> None:
    """Remove rows, by id why, and note it in their messages' stories."""
    rows = queue.find(tx, QueueFilter(ids=tuple(why)), len(why))
    events.add_events(
        tx,
        [
            entry(tx.now, row.message_key, "discarded", recipient=row.to_address, queue_id=row.id, text=why[row.id])
            for row in rows
        ],
    )
    queue_settle.remove(tx, list(why))


def _taken(route_id: int, kind: str, domain: str, why: str) -> Decision:
    if kind == "discard":
        return Decision("", route_id, why, "discard")
    return Decision(name_of(route_id, kind, domain), route_id, why)


def name_of(route_id: int, kind: str, domain: str) -> str:
    """The destination of a route for a recipient in `domain`, in the form that compares."""
    return f"route {route_id} {domain}" if kind in _BY_DOMAIN else f"route {route_id}"
