"""Where mail for an address goes: mailboxes here, addresses elsewhere, or nowhere and why."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from pillarbox.store import directory
from pillarbox.store.errors import NotFound
from pillarbox.store.records import User
from pillarbox.store.resolution import resolve
from pillarbox.store.store import Store
from pillarbox.store.tx import DIRECTORY, Touched, Tx

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


class Route(NamedTuple):
    """`users` pairs of (user id, username), `forward` addresses elsewhere; both empty when there is a refusal.

    `lasting`: it holds until the directory changes, since no quota had a say in it.
    """

    users: tuple[tuple[int, str], ...] = ()
    forward: tuple[str, ...] = ()
    refusal: Refusal | None = None
    lasting: bool = False


def find(tx: Tx, local: str, domain: str, size: int = 0) -> Route:
    """The route of local@domain for a message of `size` octets (0: not known yet). A point read.

    `domain` is in the form that compares (lower case, A-labels). Quotas refuse only when no recipient has room: an
    alias with one full mailbox still takes the message for the others.
    """
    resolution = resolve(tx, local, domain)
    if not resolution.local_domain:
        return Route(refusal=Refusal.NOT_OURS)
    users = tuple(resolution.users)
    forward = tuple(resolution.forward)
    if not users and not forward:
        return Route(refusal=Refusal(resolution.reason or Refusal.UNKNOWN.value))
    if not users or forward:
        return Route(users, forward, lasting=True)
    try:
        accounts = [directory.get_user(tx, user_id) for user_id, _ in users]
    except NotFound:  # deleted between two statements
        return Route(refusal=Refusal.UNKNOWN)
    room = [_room(account, size) for account in accounts]
    if None not in room:
        return Route(refusal=Refusal.TOO_BIG if Refusal.TOO_BIG in room else Refusal.FULL)
    return Route(users, lasting=not any(account.quota_limit for account in accounts))


def _room(user: User, size: int) -> Refusal | None:
    """None when the mailbox has room."""
    if not user.quota_limit:
        return None
    if size > user.quota_limit:
        return Refusal.TOO_BIG
    if user.quota_used >= user.quota_limit or user.quota_used + size > user.quota_limit:
        return Refusal.FULL
    return None


class Routes:
    """Finds routes for one worker and remembers the good ones until the directory changes.

    A change by another process is heard of within a second. Refusals are never remembered: who was created just now
    gets mail at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Route] = {}
        self._changes = 0

    def now(self, local: str, domain: str, size: int = 0) -> Route:
        """See `find`. Raises Busy when that would keep the loop waiting; use `later` then."""
        route = self._known.get((local, domain))
        if route is None:
            route = self._store.peek(find, local, domain, size)
            if route.lasting:
                self._remember(local, domain, route)
        return route

    async def later(self, local: str, domain: str, size: int = 0) -> Route:
        """See `find`. Raises StoreError."""
        changes = self._changes
        route = await self._store.read(find, local, domain, size)
        if route.lasting and changes == self._changes:
            self._remember(local, domain, route)
        return route

    def changed(self, touched: Collection[Touched]) -> None:
        """What a commit has touched, for `store.on_commit`."""
        if DIRECTORY in touched:
            self._known.clear()
            self._changes += 1

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
