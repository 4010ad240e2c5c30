"""What accounts and domains may keep: octets, messages, mailboxes (RFC 9208), and what they keep.

Nothing is counted twice: octets of an account are in its row, messages and mailboxes are the sum of its mailboxes, a
domain's are the sum of its accounts. A sum is only made where there is a limit. 0 is no limit everywhere.
"""

from __future__ import annotations

import msgspec

from pillarbox.store.addresses import domain_key
from pillarbox.store.errors import Invalid, NotFound, OverQuota
from pillarbox.store.records import User
from pillarbox.store.tx import DIRECTORY, Row, Tx

MOST = (1 << 63) - 1
FULL, TOO_BIG = "over quota", "larger than the quota"

_OF_USER = "(SELECT coalesce(sum(m.message_count), 0) FROM mailboxes m WHERE m.user_id = users.id)"
_DOMAIN_OCTETS = "(SELECT coalesce(sum(u.quota_used), 0) FROM users u WHERE u.email_domain = d.name)"
_DOMAIN_MESSAGES = (
    "(SELECT coalesce(sum(m.message_count), 0) FROM users u JOIN mailboxes m ON m.user_id = u.id "
    "WHERE u.email_domain = d.name)"
)
_ADD = "UPDATE users SET modseq = modseq + 1, quota_used = quota_used + ? WHERE id = ?"
CHARGE = (
    f"{_ADD} AND (quota_limit = 0 OR quota_used + ? <= quota_limit) "
    f"AND (quota_messages = 0 OR {_OF_USER} + ? <= quota_messages) "
    "AND NOT EXISTS (SELECT 1 FROM domains d WHERE d.name = users.email_domain "
    f"AND ((d.quota_limit > 0 AND {_DOMAIN_OCTETS} + ? > d.quota_limit) "
    f"OR (d.quota_messages > 0 AND {_DOMAIN_MESSAGES} + ? > d.quota_messages))) RETURNING modseq"
)
_LOCK_DOMAIN = (
    "SELECT 1 FROM domains d JOIN users u ON u.email_domain = d.name "
    "WHERE u.id = ? AND (d.quota_limit > 0 OR d.quota_messages > 0) FOR UPDATE OF d"
)
_USER = "SELECT id, username, email_domain, quota_used, quota_limit, quota_messages, quota_mailboxes FROM users WHERE "
_HELD = "SELECT coalesce(sum(message_count), 0), count(*) FROM mailboxes WHERE user_id = ?"
_DOMAIN = f"SELECT d.name, {_DOMAIN_OCTETS}, d.quota_limit, {_DOMAIN_MESSAGES}, d.quota_messages FROM domains d WHERE "

ACCOUNT_ROOT, DOMAIN_ROOT = "user/", "domain/"


class QuotaRoot(msgspec.Struct, frozen=True):
    """A thing with limits: an account ("user/ada@example.com") or a domain ("domain/example.com").

    Pairs of what is used and the limit; `storage` in octets. A domain has no limit of mailboxes.
    """

    name: str
    storage: tuple[int, int]
    messages: tuple[int, int]
    mailboxes: tuple[int, int] = (0, 0)

    @property
    def limited(self) -> bool:
        return bool(self.storage[1] or self.messages[1] or self.mailboxes[1])

    @property
    def percent(self) -> int:
        """How full it is, by the fullest of octets and messages."""
        return max((used * 100 // limit for used, limit in (self.storage, self.messages) if limit), default=0)


def charge(tx: Tx, user_id: int, size: int, count: int = 1, *, beyond: bool = False) -> int:
    """Add octets to what the account uses, for `count` new messages, and draw its next modification number.

    `beyond`: whatever the limits are. The messages themselves are counted with their mailbox. Raises OverQuota,
    NotFound.
    """
    if beyond:
        row = tx.row(_ADD + " RETURNING modseq", (size, user_id))
    else:
        if tx.engine == "postgresql":  # two accounts of one domain must not take its last place both
            tx.row(_LOCK_DOMAIN, (user_id,))
        row = tx.row(CHARGE, (size, user_id, size, count, size, count))
    if row is None:
        if tx.row("SELECT 1 FROM users WHERE id = ?", (user_id,)) is None:
            raise NotFound("no such user")
        raise OverQuota(TOO_BIG if any(0 < root.storage[1] < size for root in roots(tx, user_id)) else FULL)
    modseq: int = row[0]
    return modseq


def require_mailboxes(tx: Tx, user_id: int) -> None:
    """Raises OverQuota when the account may not have one mailbox more."""
    row = tx.row("SELECT quota_mailboxes FROM users WHERE id = ?", (user_id,))
    if row is None or not row[0]:
        return
    (there,) = tx.row("SELECT count(*) FROM mailboxes WHERE user_id = ?", (user_id,)) or (0,)
    if there >= row[0]:
        raise OverQuota(f"the account may have {row[0]} mailboxes")


def is_limited(tx: Tx, user: User) -> bool:
    """Whether an account's mail has a limit, its own or its domain's."""
    if user.quota_limit or user.quota_messages:
        return True
    _, _, domain = user.email.rpartition("@")
    row = tx.row("SELECT quota_limit, quota_messages FROM domains WHERE name = ?", (domain_key(domain),))
    return row is not None and any(row)


def room(tx: Tx, user: User, size: int) -> str | None:
    """FULL or TOO_BIG when a message of `size` octets (0: not known yet) has no room; the latter: never will."""
    for root in roots(tx, user.id):
        used, limit = root.storage
        if limit and size > limit:
            return TOO_BIG
        if limit and (used >= limit or used + size > limit):
            return FULL
        used, limit = root.messages
        if limit and used >= limit:
            return FULL
    return None


def roots(tx: Tx, user_id: int) -> list[QuotaRoot]:
    """What limits an account's mail: itself and its domain, those of them that have a limit. Raises NotFound."""
    row = tx.row(_USER + "id = ?", (user_id,))
    if row is None:
        raise NotFound("no such user")
    found = [_account(tx, row), _domain(tx, row[2])]
    return [root for root in found if root is not None and root.limited]


def root(tx: Tx, name: str) -> QuotaRoot | None:
    """The account or domain of this name, with limits or without; None where there is none."""
    if name.startswith(ACCOUNT_ROOT):
        row = tx.row(_USER + "lower(username) = lower(?)", (name.removeprefix(ACCOUNT_ROOT),))
        return None if row is None else _account(tx, row)
    if name.startswith(DOMAIN_ROOT):
        return _domain(tx, domain_key(name.removeprefix(DOMAIN_ROOT)))
    return None


def set_limits(tx: Tx, name: str, storage: int = 0, messages: int = 0, mailboxes: int = 0) -> QuotaRoot:
    """Limit an account or domain by its root's name; what is over it already stays. Raises NotFound, Invalid."""
    if not all(0 <= limit <= MOST for limit in (storage, messages, mailboxes)):
        raise Invalid("a quota is a number that is not negative")
    found = root(tx, name)
    if found is None:
        raise NotFound(f"there is no quota root {name}")
    kind, _, rest = found.name.partition("/")
    if kind == "user":
        tx.run(
            "UPDATE users SET quota_limit = ?, quota_messages = ?, quota_mailboxes = ?, updated_at = ? "
            "WHERE lower(username) = lower(?)",
            (storage, messages, mailboxes, tx.now, rest),
        )
    elif mailboxes:
        raise Invalid("a domain has no limit of mailboxes")
    else:
        tx.run("UPDATE domains SET quota_limit = ?, quota_messages = ? WHERE name = ?", (storage, messages, rest))
    tx.touch(*DIRECTORY)
    return root(tx, name) or found


def _account(tx: Tx, row: Row) -> QuotaRoot:
    user_id, username, _, used, octets, messages, boxes = row
    held = tx.row(_HELD, (user_id,)) or (0, 0)
    return QuotaRoot(ACCOUNT_ROOT + username, (used, octets), (int(held[0]), messages), (held[1], boxes))


def _domain(tx: Tx, name: str) -> QuotaRoot | None:
    row = tx.row("SELECT quota_limit, quota_messages FROM domains WHERE name = ?", (name,))
    if row is None:
        return None
    if not any(row):
        return QuotaRoot(DOMAIN_ROOT + name, (0, 0), (0, 0))  # a sum over its accounts is for those who asked for it
    _, octets, most_octets, messages, most_messages = tx.row(_DOMAIN + "d.name = ?", (name,)) or (name, 0, 0, 0, 0)
    return QuotaRoot(DOMAIN_ROOT + name, (int(octets), most_octets), (int(messages), most_messages))
