"""What would happen to a recipient and why: the decisions of `route`, `mailing_list` and `destination`, with reasons.

The functions that decide tell of each step (`note`); nothing is decided here a second time.
"""

from __future__ import annotations

from typing import NamedTuple

from pillarbox.smtp.address import MAX_LOCAL, MAX_PATH, AddressError, parse_path
from pillarbox.store import directory, list_lookup, routes
from pillarbox.store.resolution import Note, is_local_domain
from pillarbox.store.tx import Tx

from . import mailing_list, srs
from .destination import Action, Destinations
from .route import Refusal, Route, find, for_sender, relayed


class Step(NamedTuple):
    """One step of the decision: what was looked at, and what it said."""

    step: str
    text: str


class NextHop(NamedTuple):
    """Where the queue would send it. `via` is the address of ours that forwards; `kind` that of the route ("mx"
    without one), `place` its host and port."""

    address: str
    via: str
    destination: str
    action: Action
    kind: str
    place: str
    tls: str
    why: str


class Explanation(NamedTuple):
    """`mailboxes` are usernames, `lists` pairs of address and number of members; all empty when it is refused.

    `forwarded_from` is the sender's domain, where the policy of that decides whether the sender is rewritten (SRS).
    """

    address: str
    sender: str | None
    refusal: Refusal | None
    steps: list[Step]
    mailboxes: list[str]
    lists: list[tuple[str, int]]
    next_hops: list[NextHop]
    forwarded_from: str = ""


def explain(tx: Tx, address: str, sender: str | None = None, size: int = 0) -> Explanation:
    """What would happen to mail for `address` from `sender` ("" the null sender, None: a stranger who does not matter).

    A sender who has an account is taken for one who has logged in. Raises AddressError.
    """
    steps: list[Step] = []

    def note(step: str, text: str) -> None:
        steps.append(Step(step, text))

    if address.lower() == "postmaster":
        local, domain = address, ""
    else:
        path = parse_path(address, max_local=MAX_PATH if srs.is_rewritten(address.partition("@")[0]) else MAX_LOCAL)
        local, domain = path.local, path.domain_key
        address = path.address
    account = directory.user(tx, sender) if sender else None
    logged_in = account is not None and account.enabled
    if sender is not None:
        note("sender", _sender(sender, account.username if account and logged_in else ""))
    if account is not None and account.sending_held_at is not None:
        note("sender", f"the account {account.username} is on hold: {account.sending_held_reason}")
    route = find(tx, local, domain, size, note)
    if route.refusal is Refusal.NOT_OURS:
        if logged_in:
            note("relay", "who has logged in may send anywhere")
            route = relayed(address)
        else:
            note("relay", "only who has logged in may send there; strangers may not")
    elif route.lists and sender is not None:
        route = _asked(tx, route, sender, note)
    elif route.lists:
        for list_id, name in route.lists:
            row = list_lookup.get_list(tx, list_id)
            note("posting", f"{name} takes mail from {row.posting if row else 'nobody'}")
    hops = _hops(tx, route, sender or "", note)
    origin = _origin(tx, sender or "") if any(hop.via and hop.action != "discard" for hop in hops) else ""
    if origin:
        note("sender", f"<{sender}> is rewritten (SRS) if {origin} has mail refused that others send in its name")
    lists = [(name, list_lookup.count_members(tx, list_id)) for list_id, name in route.lists]
    users = [username for _, username in route.users]
    return Explanation(address, sender, route.refusal, steps, users, lists, hops, origin)


def _sender(sender: str, username: str) -> str:
    if not sender:
        return "the null sender: a report, or another automatic message"
    if username:
        return f"{sender} belongs to the account {username}, which has logged in"
    return f"{sender} is a stranger"


def _asked(tx: Tx, route: Route, sender: str, note: Note) -> Route:
    for list_id, name in route.lists:
        may = "may" if mailing_list.may_post(tx, list_id, sender) else "may not"
        row = list_lookup.get_list(tx, list_id)
        note("posting", f"<{sender}> {may} send to {name}, which takes mail from {row.posting if row else 'nobody'}")
    return for_sender(tx, route, sender)


def _hops(tx: Tx, route: Route, sender: str, note: Note) -> list[NextHop]:
    destinations = Destinations(tx, sender)
    hops = []
    for forward in route.forward:
        decision = destinations.of(forward.address)
        note("next hop", f"{forward.address}: {decision.why}")
        taken = None if decision.route_id is None else routes.get(tx, decision.route_id)
        kind, place, tls = "mx", "", "may"
        if taken is not None:
            kind, place, tls = taken.kind, _place(taken.host, taken.port), taken.tls
        hops.append(
            NextHop(forward.address, forward.via, decision.name, decision.action, kind, place, tls, decision.why)
        )
    return hops


def _origin(tx: Tx, sender: str) -> str:
    """The domain of a sender that is elsewhere, "" for any other; as `sending.senders` has it."""
    try:
        path = parse_path(sender, max_local=MAX_PATH)
    except AddressError:
        return ""
    return "" if path.is_literal or is_local_domain(tx, path.domain_key) else path.domain_key


def _place(host: str, port: int) -> str:
    if not host or host.startswith(("/", "unix:")):
        return host
    return f"{host}:{port}"
