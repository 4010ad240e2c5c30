"""Where the queue sends a recipient's mail: by a rule of the operator's, else to the MX of the domain.

The first rule that matches decides, in this order: sender, sender's domain and its parents (`.example.org`),
recipient, recipient's domain and its parents, `*`. A destination is a name:

    mx example.org            the hosts that DNS names for example.org
    route 3                   the host or socket of route 3
    route 3 example.org       the hosts of example.org, in the manner of route 3 (kinds mx and backup)

so that rows for one next hop share a destination whatever rule led there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pillarbox.store import rule_lookup
from pillarbox.store.addresses import domain_key
from pillarbox.store.rule_lookup import Rule, Scope
from pillarbox.store.tx import Tx

Action = Literal["send", "hold", "discard"]

_BY_DOMAIN = ("mx", "backup")  # kinds of route whose hosts are those of the recipient's domain


class Decision(NamedTuple):
    """The next hop of one recipient.

    `route_id` is the route that a rule chose, None for the plain MX. `why` is for people. With "hold" the name is that
    of the destination which follows when the row is released; with "discard" it is "".
    """

    name: str
    route_id: int | None
    why: str
    action: Action = "send"


def destination_of(tx: Tx, sender: str, recipient: str) -> Decision:
    """The destination for one recipient, an address elsewhere. Point reads."""
    return Destinations(tx, sender).of(recipient)


class Destinations:
    """Decides for the recipients of one sender, within one transaction: what they share is looked up once."""

    def __init__(self, tx: Tx, sender: str) -> None:
        self._tx = tx
        self._domains: dict[str, list[Rule]] = {}
        self._rules = rule_lookup.any_rules(tx)
        self._sender: list[Rule] = []
        if self._rules and sender:
            domain = sender.rpartition("@")[2]
            patterns = [*rule_lookup.address_patterns(sender), *rule_lookup.domain_patterns(domain)]
            self._sender = rule_lookup.matching(tx, "sender", patterns)

    def of(self, recipient: str) -> Decision:
        domain = domain_key(recipient.rpartition("@")[2])
        if not self._rules:
            return Decision(f"mx {domain}", None, f"no rule; the MX of {domain}")
        return self._decide(recipient, domain)

    def _decide(self, recipient: str, domain: str) -> Decision:
        held: str | None = None
        for scope, rule in self._matching(recipient, domain):
            why = f"the {scope} rule {rule.pattern} says route {rule.route} ({rule.kind})"
            if rule.kind == "hold":
                held = held or why
            elif held is not None and rule.kind != "discard":
                return Decision(name_of(rule.route_id, rule.kind, domain), rule.route_id, held, "hold")
            elif held is None:
                if rule.kind == "discard":
                    return Decision("", rule.route_id, why, "discard")
                return Decision(name_of(rule.route_id, rule.kind, domain), rule.route_id, why)
        if held is not None:
            return Decision(f"mx {domain}", None, held, "hold")
        return Decision(f"mx {domain}", None, f"no rule matches; the MX of {domain}")

    def _matching(self, recipient: str, domain: str) -> list[tuple[Scope, Rule]]:
        of_domain = self._domains.get(domain)
        if of_domain is None:
            patterns = [*rule_lookup.domain_patterns(domain), "*"]
            of_domain = self._domains[domain] = rule_lookup.matching(self._tx, "recipient", patterns)
        of_address = rule_lookup.matching(self._tx, "recipient", rule_lookup.address_patterns(recipient))
        senders: list[tuple[Scope, Rule]] = [("sender", rule) for rule in self._sender]
        return senders + [("recipient", rule) for rule in (*of_address, *of_domain)]


def name_of(route_id: int, kind: str, domain: str) -> str:
    """The destination of a route for a recipient in `domain`, in the form that compares."""
    return f"route {route_id} {domain}" if kind in _BY_DOMAIN else f"route {route_id}"
