"""GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). An administrator sets limits; others see what limits their own mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.imap import quota_grammar
from pillarbox.imap.commands import Mailbox, Quota
from pillarbox.imap.events import Command
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer, Refuse
from pillarbox.store import Tx, directory, quota
from pillarbox.store.errors import NotFound
from pillarbox.store.quota import QuotaRoot

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

UNIT = 1024  # octets of one unit of STORAGE, RFC 9208 section 5.1


async def get(session: ImapSession, command: Command) -> Answer:
    """Answer GETQUOTA."""
    args = command.args
    assert isinstance(args, Quota)
    _tell(session, await session.store.read(_visible, session.user_id, args.root))
    return Answer("GETQUOTA completed")


async def root_of(session: ImapSession, command: Command) -> Answer:
    """Answer GETQUOTAROOT: the roots that limit a mailbox. One without any limit has none."""
    args = command.args
    assert isinstance(args, Mailbox)
    box = (await session.store.read(seen, session.user_id, args.mailbox, "r")).box
    roots = await session.store.read(quota.roots, box.user_id)
    session.core.untagged(quota_grammar.quota_root(box.name, [root.name for root in roots], session.utf8))
    for root in roots:
        _tell(session, root)
    return Answer("GETQUOTAROOT completed")


async def set_(session: ImapSession, command: Command) -> Answer:
    """Answer SETQUOTA: limits that are not named are discarded (RFC 9208 section 4.1.3)."""
    args = command.args
    assert isinstance(args, Quota)
    limits = dict(args.limits)
    if unknown := [name for name in limits if name not in ("STORAGE", "MESSAGE", "MAILBOX")]:
        raise Refuse(f"There is no resource {unknown[0][:40]}", "CANNOT")
    if not all(limits.values()):
        raise Refuse("A limit is 1 at least; leave the resource out to have none", "CANNOT")
    storage = limits.get("STORAGE", 0)
    if storage > quota.MOST // UNIT:
        raise Refuse("The limit is too large", "CANNOT")
    wanted = (storage * UNIT, limits.get("MESSAGE", 0), limits.get("MAILBOX", 0))
    try:
        root = await session.store.write(_set, session.user_id, args.root, wanted)
    except NotFound:
        raise _no_root() from None
    _tell(session, root)
    return Answer("SETQUOTA completed")


def _set(tx: Tx, user_id: int, name: str, limits: tuple[int, int, int]) -> QuotaRoot:
    if directory.get_user(tx, user_id).role != "admin":
        raise Refuse("Only an administrator may set quotas", "NOPERM")
    return quota.set_limits(tx, name, *limits)


def _visible(tx: Tx, user_id: int, name: str) -> QuotaRoot:
    """The root of this name, if the account may see it."""
    for root in quota.roots(tx, user_id):
        if root.name == name:
            return root
    if directory.get_user(tx, user_id).role != "admin":
        raise Refuse("That is no quota root of yours", "NOPERM")
    found = quota.root(tx, name)
    if found is None:
        raise _no_root()
    return found


def _no_root() -> Refuse:
    return Refuse("There is no such quota root", "NONEXISTENT")


def _tell(session: ImapSession, root: QuotaRoot) -> None:
    used, limit = root.storage
    resources = [("STORAGE", -(-used // UNIT), -(-limit // UNIT)), ("MESSAGE", *root.messages)]
    resources.append(("MAILBOX", *root.mailboxes))
    limited = [resource for resource in resources if resource[2]]
    if limited:
        session.core.untagged(quota_grammar.quota(root.name, limited, session.utf8))
