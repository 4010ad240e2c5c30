"""Who an account may say it is: in MAIL FROM, in From, in Sender.

Its e-mail address; its username, if that is an address; each of them with +detail; an alias here that leads straight to
one of them, alone or among others; and what was granted to it (`store.senders`): an address or a whole domain. A
catch-all or a list makes nobody its sender.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pillarbox.store import directory, senders
from pillarbox.store.addresses import SEPARATOR, address_key, domain_key, local_key
from pillarbox.store.errors import Invalid
from pillarbox.store.records import User
from pillarbox.store.resolution import is_local_domain
from pillarbox.store.store import Store
from pillarbox.store.tx import DIRECTORY, Touched, Tx

MOST_REMEMBERED = 10_000  # accounts with the addresses they send as


class Standing(NamedTuple):
    """Whether an account may send a message. `held`: the reason why it may send nothing, None when it may. `stranger`
    is the first of the addresses that is none of its, by its place."""

    held: str | None
    stranger: int | None


MAY_SEND = Standing(None, None)


def standing(tx: Tx, user_id: int, addresses: Sequence[tuple[str, str]]) -> Standing:
    """How an account stands that wants to send as these (local part, domain). Point reads; none for its own address
    beside that of the account. Raises NotFound."""
    user = directory.get_user(tx, user_id)
    held = None if user.sending_held_at is None else user.sending_held_reason or "by the operator"
    own = _own(user)
    for at, (local, domain) in enumerate(addresses):
        if not _may_send_as(tx, user_id, own, local, domain):
            return Standing(held, at)
    return Standing(held, None)


def _may_send_as(tx: Tx, user_id: int, own: set[str], local: str, domain: str) -> bool:
    spellings = _spellings(local, domain)
    if any(spelling in own for spelling in spellings):
        return True
    if is_local_domain(tx, domain) and any(_leads_to(tx, spelling, own) for spelling in spellings):
        return True
    return any(senders.is_granted(tx, user_id, spelling) for spelling in spellings)


def _own(user: User) -> set[str]:
    own = set()
    for name in (user.email, user.username):
        try:
            own.add(address_key(name))
        except Invalid:
            continue  # a username that is no address
    return own


def _spellings(local: str, domain: str) -> list[str]:
    """The address in the form that compares, and without its +detail."""
    key, host = local_key(local), domain_key(domain)
    base, plus, _ = key.partition(SEPARATOR)
    found = [f"{key}@{host}"]
    if plus and base:
        found.append(f"{base}@{host}")
    try:
        return [address_key(address) for address in found]
    except Invalid:
        return []


def _leads_to(tx: Tx, address: str, own: set[str]) -> bool:
    for alias in directory.aliases(tx, address):
        local, _, domain = alias.target.rpartition("@")
        if any(spelling in own for spelling in _spellings(local, domain)):
            return True
    return False


class Standings:
    """Finds how accounts stand for one worker, and remembers those that may send until the directory changes.

    A change by another process is heard of within a second; the transaction that stores a message looks itself whether
    the account is held.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[tuple[int, tuple[tuple[str, str], ...]]] = set()
        self._changes = 0

    def now(self, user_id: int, addresses: Sequence[tuple[str, str]]) -> Standing:
        """See `standing`. Raises Busy when that would keep the loop waiting; use `later` then."""
        key = user_id, tuple(addresses)
        if key in self._known:
            return MAY_SEND
        found = self._store.peek(standing, user_id, addresses)
        self._remember(key, found)
        return found

    async def later(self, user_id: int, addresses: Sequence[tuple[str, str]]) -> Standing:
        """See `standing`. Raises StoreError."""
        changes = self._changes
        found = await self._store.read(standing, user_id, addresses)
        if changes == self._changes:
            self._remember((user_id, tuple(addresses)), found)
        return found

    def changed(self, touched: Collection[Touched]) -> None:
        """What a commit has touched, for `store.on_commit`."""
        if DIRECTORY in touched:
            self._known.clear()
            self._changes += 1

    def _remember(self, key: tuple[int, tuple[tuple[str, str], ...]], found: Standing) -> None:
        if found == MAY_SEND:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known.add(key)
