"""Who an account may say it is: in MAIL FROM, in From, in Sender.

Its e-mail address; its username, if that is an address; each of them with +detail; an alias here that leads straight to
one of them, alone or among others; and what was granted to it (`store.senders`): an address or a whole domain. A
catch-all or a list makes nobody its sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.store import directory, senders
from pillarbox.store.addresses import SEPARATOR, address_key, domain_key, local_key
from pillarbox.store.errors import Invalid
from pillarbox.store.records import User
from pillarbox.store.resolution import is_local_domain
from pillarbox.store.tx import Tx


class Standing(NamedTuple):
    """Whether an account may send a message. `held`: the reason why it may send nothing, None when it may. `stranger`
    is the first of the addresses that is none of its, by its place."""

    held: str | None
    stranger: int | None


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


def may_send_as(tx: Tx, user_id: int, local: str, domain: str) -> bool:
    """Whether the account may use local@domain. Raises NotFound."""
    return standing(tx, user_id, [(local, domain)]).stranger is None


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
