"""Where mail for an address goes: mailboxes here, lists, addresses elsewhere, or nowhere and why.

Whose mail is taken from strangers: that for the addresses of this server, for return addresses that we made (SRS), and
for what an operator's rule accepts (`accept`: a domain we are a backup for, a server behind us). Nothing else: a rule
without `accept` says where mail goes once it was taken, and `*` accepts nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from pillarbox.smtp.address import quoted_local
from pillarbox.store import directory, list_lookup, quota, secrets
from pillarbox.store.errors import NotFound
from pillarbox.store.records import User
from pillarbox.store.resolution import Note, is_local_domain, resolve, silent
from pillarbox.store.rule_lookup import Rules, address_patterns, domain_patterns
from pillarbox.store.store import Store
from pillarbox.store.tx import DIRECTORY, Touched, Tx

from . import mailing_list, srs

MOST_REMEMBERED = 10_000  # routes


class Refusal(Enum):
    """Why an address takes no mail. How that is said is the protocol's business."""

    UNKNOWN = "unknown user"
    NOT_OURS = "not local"
    DISABLED = "disabled"
    LOOP = "alias loop"
    NOBODY = "nobody yet"  # a postmaster, where nobody has an account
    FULL = "over quota"  # now; may change
    TOO_BIG = "larger than the quota"  # this message will never fit
    BAD_RETURN = "not a return address of ours"  # SRS: made by somebody else, or too old
    MAY_NOT_POST = "may not post"
    EMPTY_LIST = "list without members"


class Forward(NamedTuple):
    """An address elsewhere; `via` the address of ours that leads there, "" when it was the recipient itself."""

    address: str
    via: str = ""


class Route(NamedTuple):
    """`users` pairs of (user id, username), `forward` addresses elsewhere, `lists` pairs of (list id, address); all
    empty when there is a refusal.

    `lasting`: it holds until the directory changes, since neither a quota nor the time had a say in it.
    """

    users: tuple[tuple[int, str], ...] = ()
    forward: tuple[Forward, ...] = ()
    refusal: Refusal | None = None
    lasting: bool = False
    lists: tuple[tuple[int, str], ...] = ()


ELSEWHERE = Route(refusal=Refusal.NOT_OURS)


def relayed(address: str) -> Route:
    """The route of an address elsewhere, for whoever may send there."""
    return Route(forward=(Forward(address),))


def find(tx: Tx, local: str, domain: str, size: int = 0, note: Note | None = None) -> Route:
    """The route of local@domain for a message of `size` octets (0: not known yet). Point reads.

    `domain` is in the form that compares (lower case, A-labels). Quotas refuse only when no recipient has room: an
    alias with one full mailbox still takes the message for the others. `note` is told of each step.
    """
    tell = note or silent
    if srs.is_rewritten(local) and is_local_domain(tx, domain):
        return _returned(tx, local, domain, size, tell)
    address = f"{quoted_local(local)}@{domain}"
    rules = Rules(tx)
    if rules and domain and _accepts(rules, address_patterns(address), tell):
        return Route(forward=(Forward(address),), lasting=True)
    resolution = resolve(tx, local, domain, tell)
    users, lists = tuple(resolution.users), tuple(resolution.lists)
    if not users and not lists and not resolution.forward:
        refusal = Refusal(resolution.reason or Refusal.UNKNOWN.value)
        stranger = refusal in (Refusal.UNKNOWN, Refusal.NOT_OURS)
        if rules and stranger and _accepts(rules, domain_patterns(domain), tell):
            return Route(forward=(Forward(address),), lasting=True)
        if refusal is not Refusal.NOT_OURS:
            tell("refused", refusal.value)
        return Route(refusal=refusal)
    for list_id, name in lists:
        if not list_lookup.has_members(tx, list_id):
            tell("refused", f"{name} has no members")
            return Route(refusal=Refusal.EMPTY_LIST)
    if not users or resolution.forward or lists:
        via = address.lower() if address.isascii() else address
        forward = tuple(Forward(target, via) for target in resolution.forward)
        return Route(users, forward, lasting=True, lists=lists)
    return _with_room(tx, users, size, tell)


def _with_room(tx: Tx, users: tuple[tuple[int, str], ...], size: int, tell: Note) -> Route:
    try:
        accounts = [directory.get_user(tx, user_id) for user_id, _ in users]
    except NotFound:  # deleted between two statements
        return Route(refusal=Refusal.UNKNOWN)
    limited = [account for account in accounts if quota.is_limited(tx, account)]
    room = [quota.room(tx, account, size) for account in limited]
    for account, full in zip(limited, room, strict=True):
        _tell_quotas(tx, account, full, tell)
    if limited and None not in room and len(limited) == len(accounts):
        return Route(refusal=Refusal.TOO_BIG if quota.TOO_BIG in room else Refusal.FULL)
    return Route(users, lasting=not limited)


def _tell_quotas(tx: Tx, account: User, full: str | None, tell: Note) -> None:
    if tell is silent:
        return
    for root in quota.roots(tx, account.id):
        name = root.name.partition("/")[2]
        for (used, limit), what in ((root.storage, "octets"), (root.messages, "messages")):
            if limit:
                tell("quota", f"{name} uses {used} of {limit} {what}" + (f": {full}" if full else ""))


def _accepts(rules: Rules, patterns: list[str], tell: Note) -> bool:
    """Whether the first recipient rule of these patterns takes mail from strangers."""
    for rule in rules.matching("recipient", patterns)[:1]:
        if rule.accept:
            tell("accept", f"the rule {rule.pattern} takes mail from anybody, for route {rule.route} ({rule.kind})")
        return rule.accept
    return False


def _returned(tx: Tx, local: str, domain: str, size: int, tell: Note) -> Route:
    """Where a return address that we may have made leads."""
    try:
        key = secrets.secret(tx, srs.KEY)
        if key is None:
            raise srs.BadReturn("this server never made one")
        original = srs.Rewriter(key).reverse(local, tx.now)
    except srs.BadReturn as error:
        tell("srs", f"a return address of the Sender Rewriting Scheme: {error}")
        return Route(refusal=Refusal.BAD_RETURN)
    tell("srs", f"a return address that we made for {original}")
    sender, _, elsewhere = original.rpartition("@")
    if is_local_domain(tx, elsewhere):
        return find(tx, sender, elsewhere, size, tell)._replace(lasting=False)
    return Route(forward=(Forward(original, f"{quoted_local(local)}@{domain}"),))


def for_sender(tx: Tx, route: Route, sender: str) -> Route:
    """The route, or a refusal when it leads to a list that `sender` may not post to."""
    if all(mailing_list.may_post(tx, list_id, sender) for list_id, _ in route.lists):
        return route
    return Route(refusal=Refusal.MAY_NOT_POST)


class Routes:
    """Finds routes for one worker and remembers the good ones until the directory changes.

    A change by another process is heard of within a second. Refusals are never remembered: who was created just now
    gets mail at once. Domains that are not ours are, for those who may send there all the same (`is_elsewhere`).
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Route] = {}
        self._elsewhere: set[str] = set()  # domains
        self._changes = 0

    def is_elsewhere(self, domain: str) -> bool:
        """Whether the domain is known not to be ours. Whoever may send elsewhere needs to know no more: what rules
        accept from strangers of its addresses goes there too."""
        return domain in self._elsewhere

    def now(self, local: str, domain: str, size: int = 0, sender: str | None = None) -> Route:
        """See `find`. A list that `sender` may not post to refuses; None asks that later, at delivery.

        Raises Busy when that would keep the loop waiting; use `later` then.
        """
        route = self._known.get((local, domain))
        if route is None:
            route = self._store.peek(find, local, domain, size)
            if route.lasting:
                self._remember(local, domain, route)
            elif route.refusal is Refusal.NOT_OURS:
                self._note_elsewhere(domain)
        if route.lists and sender is not None:
            return self._store.peek(for_sender, route, sender)
        return route

    async def later(self, local: str, domain: str, size: int = 0, sender: str | None = None) -> Route:
        """See `now`. Raises StoreError."""
        changes = self._changes
        route = await self._store.read(find, local, domain, size)
        if route.lasting and changes == self._changes:
            self._remember(local, domain, route)
        if route.lists and sender is not None:
            return await self._store.read(for_sender, route, sender)
        return route

    def changed(self, touched: Collection[Touched]) -> None:
        """What a commit has touched, for `store.on_commit`."""
        if DIRECTORY in touched:
            self._known.clear()
            self._elsewhere.clear()
            self._changes += 1

    def _note_elsewhere(self, domain: str) -> None:
        if len(self._elsewhere) >= MOST_REMEMBERED:
            self._elsewhere.clear()
        self._elsewhere.add(domain)

    def _remember(self, local: str, domain: str, route: Route) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[local, domain] = route


def make_mailbox(tx: Tx, local: str, domain: str) -> Route:
    """An account for an address that nobody has (the test inbox), and its route.

    It has the password of the oldest account, so that whoever runs the test can read it. user+tag makes the mailbox of
    user. Raises Invalid for an address that no account can have.
    """
    found = find(tx, local, domain)
    if found.refusal not in (Refusal.UNKNOWN, Refusal.NOT_OURS):
        return found
    address = f"{local.partition('+')[0] or local}@{domain}"
    directory.create_user(tx, address, address, *directory.oldest_credentials(tx))
    return find(tx, local, domain)
