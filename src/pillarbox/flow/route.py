"""Where mail for an address goes: mailboxes here, addresses elsewhere, or nowhere and why."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pillarbox.store import directory
from pillarbox.store.errors import NotFound
from pillarbox.store.resolution import resolve
from pillarbox.store.tx import Tx


class Refusal(Enum):
    """Why an address takes no mail. How that is said is the protocol's business."""

    UNKNOWN = "unknown user"
    NOT_OURS = "not local"
    DISABLED = "disabled"
    LOOP = "alias loop"
    FULL = "over quota"  # now; may change
    TOO_BIG = "larger than the quota"  # this message will never fit


class Route(NamedTuple):
    """`users` pairs of (user id, username), `forward` addresses elsewhere; both empty when there is a refusal."""

    users: tuple[tuple[int, str], ...] = ()
    forward: tuple[str, ...] = ()
    refusal: Refusal | None = None


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
    if users and not forward:
        room = [_room(tx, user_id, size) for user_id, _ in users]
        if None not in room:
            return Route(refusal=Refusal.TOO_BIG if Refusal.TOO_BIG in room else Refusal.FULL)
    return Route(users, forward)


def _room(tx: Tx, user_id: int, size: int) -> Refusal | None:
    """None when the mailbox has room."""
    try:
        user = directory.get_user(tx, user_id)
    except NotFound:  # deleted between two statements
        return Refusal.UNKNOWN
    if not user.quota_limit:
        return None
    if size > user.quota_limit:
        return Refusal.TOO_BIG
    if user.quota_used >= user.quota_limit or user.quota_used + size > user.quota_limit:
        return Refusal.FULL
    return None


def make_mailbox(tx: Tx, local: str, domain: str, secrets: tuple[str, str]) -> Route:
    """An account for an address that nobody has (the test inbox), and its route. `secrets` as `hash_password` gives.

    user+tag makes the mailbox of user. Raises Invalid for an address that no account can have.
    """
    found = find(tx, local, domain)
    if found.refusal not in (Refusal.UNKNOWN, Refusal.NOT_OURS):
        return found
    address = f"{local.partition('+')[0] or local}@{domain}"
    directory.create_user(tx, address, address, secrets[0], secrets[1])
    return find(tx, local, domain)
