"""Mailboxes as one account sees them: its own, and below "Other Users/NAME/" those that others share with it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pillarbox.store import mailbox_lookup, mailboxes, rights
from pillarbox.store.errors import Conflict, Denied, Invalid, NotFound
from pillarbox.store.mailbox_names import DELIMITER, INBOX, OTHERS, PREFIX, normalised, parents
from pillarbox.store.records import Mailbox
from pillarbox.store.tx import Row, Tx

_OWNERS = (
    "SELECT DISTINCT u.id, u.username FROM acl a JOIN users u ON u.id = a.owner_id "
    "WHERE a.negative = 0 AND u.id <> ? AND (a.user_id = ? OR a.user_id IS NULL) ORDER BY u.username"
)


_GRANTS = (
    "SELECT a.owner_id, u.username, a.mailbox_id, a.user_id, a.negative, a.rights FROM acl a "
    "JOIN users u ON u.id = a.owner_id WHERE a.owner_id <> ? AND (a.user_id = ? OR a.user_id IS NULL)"
)


class Access(NamedTuple):
    """What one account may do in another's mailboxes: by the mailbox's id, `otherwise` in those not among them.

    `prefix`: what stands before the name that a mailbox has at its owner's.
    """

    prefix: str
    otherwise: str
    rights: dict[int, str]

    def to(self, mailbox_id: int) -> str:
        return self.rights.get(mailbox_id, self.otherwise)


class Seen(NamedTuple):
    """A mailbox as an account sees it: `box.name` is its name there, `box.user_id` its owner."""

    box: Mailbox
    rights: str

    def may(self, wanted: str) -> bool:
        return set(wanted).issubset(self.rights)


def find(tx: Tx, user_id: int, name: str) -> Seen | None:
    """The mailbox of this name; None also where the account may not know that there is one."""
    own = mailbox_lookup.find(tx, user_id, name)
    if own is not None:
        return Seen(own, rights.ALL)
    place = _elsewhere(tx, user_id, name)
    if place is None:
        return None
    box = mailbox_lookup.find(tx, *place[:2])
    if box is None:
        return None
    return _seen(box, place[2], rights.of(tx, box.user_id, box.id, user_id))


def required(tx: Tx, user_id: int, name: str, wanted: str) -> Mailbox:
    """The mailbox of this name. Raises NotFound, Denied (one of the wanted rights is missing)."""
    seen = find(tx, user_id, name)
    if seen is None:
        raise NotFound("no such mailbox")
    if not seen.may(wanted):
        raise Denied("you have not the right to do that in this mailbox")
    return seen.box


def shared(tx: Tx, user_id: int) -> list[Seen]:
    """Every mailbox of others that the account may see."""
    found = []
    for owner_id, username in tx.rows(_OWNERS, (user_id, user_id)):
        label = _label(username)
        for box in mailbox_lookup.list_mailboxes(tx, owner_id) if label else ():
            seen = _seen(box, label, rights.of(tx, owner_id, box.id, user_id))
            if seen is not None and seen.may("l"):
                found.append(seen)
    return found


def access(tx: Tx, user_id: int) -> dict[int, Access]:
    """What the account may do at others, by their ids; only those who let it see something."""
    grants: dict[int, tuple[str, list[Row]]] = {}
    for row in tx.rows(_GRANTS, (user_id, user_id)):
        grants.setdefault(row[0], (row[1], []))[1].append(row[2:])
    found = {}
    for owner_id, (username, rows) in grants.items():
        general = [row for row in rows if row[0] is None]
        special: dict[int, list[Row]] = {}
        for row in rows:
            if row[0] is not None:
                special.setdefault(row[0], []).append(row)
        there = {mailbox_id: rights.effective([*general, *its]) for mailbox_id, its in special.items()}
        otherwise = rights.effective(general)
        label = _label(username)
        if label and ("l" in otherwise or any("l" in letters for letters in there.values())):
            found[owner_id] = Access(f"{PREFIX}{label}{DELIMITER}", otherwise, there)
    return found


def create(tx: Tx, user_id: int, name: str, special_use: str | None = None) -> Mailbox:
    """Make a mailbox of one's own, or below one of somebody else with the right k. Raises as `mailboxes.create`, and
    Denied."""
    if not _is_below(name):
        made = mailboxes.create(tx, user_id, name, special_use)
        _inherit(tx, made)
        return made
    place = _elsewhere(tx, user_id, name)
    if place is None:
        raise Denied("there is nobody of that name who shares mailboxes with you")
    owner_id, local, label = place
    if find(tx, user_id, name) is not None:
        raise Conflict("a mailbox of that name exists")
    _require_above(tx, user_id, owner_id, local)
    made = mailboxes.create(tx, owner_id, local)
    _inherit(tx, made)
    return _renamed(made, label)


def delete(tx: Tx, user_id: int, name: str) -> int:
    """Raises as `mailboxes.delete`, and Denied."""
    box = required(tx, user_id, name, "x")
    return mailboxes.delete(tx, box.user_id, mailbox_lookup.get(tx, box.id).name)


def rename(tx: Tx, user_id: int, old: str, new: str) -> None:
    """Raises as `mailboxes.rename`, and Denied. A mailbox stays with its owner."""
    box = required(tx, user_id, old, "x")
    if box.user_id == user_id and not _is_below(new):
        mailboxes.rename(tx, user_id, old, new)
        return
    place = _elsewhere(tx, user_id, new)
    if place is None or place[0] != box.user_id:
        raise Invalid("a mailbox stays with its owner: copy its messages")
    _require_above(tx, user_id, box.user_id, place[1])
    local = mailbox_lookup.get(tx, box.id).name
    if local == INBOX:
        raise Invalid("the INBOX of somebody else cannot be renamed")
    mailboxes.rename(tx, box.user_id, local, place[1])


def _elsewhere(tx: Tx, user_id: int, name: str) -> tuple[int, str, str] | None:
    """Whose mailbox a name is, what it is called there, and how the owner is called here; None for one's own names."""
    if not _is_below(name):
        return None
    label, _, local = name[len(PREFIX) :].partition(DELIMITER)
    row = tx.row("SELECT id, username FROM users WHERE lower(username) = lower(?)", (label,))
    if row is None or row[0] == user_id or not local:
        return None
    return row[0], local, _label(row[1])


def _is_below(name: str) -> bool:
    return name == OTHERS or name.startswith(PREFIX)


def _label(username: str) -> str:
    """How an account is called as a level of a name; "" when it cannot be one."""
    try:
        return username if DELIMITER not in username and normalised(username) == username else ""
    except Invalid:
        return ""


def _seen(box: Mailbox, label: str, has: str) -> Seen | None:
    """None without any right to look at it."""
    if not label or not set(has) & set("lr"):
        return None
    return Seen(_renamed(box, label), has)


def _renamed(box: Mailbox, label: str) -> Mailbox:
    """Its special use is its owner's: a client must not put its own sent mail there."""
    return msgspec.structs.replace(box, name=f"{PREFIX}{label}{DELIMITER}{box.name}", special_use=None)


def _require_above(tx: Tx, user_id: int, owner_id: int, local: str) -> None:
    """The right to make a mailbox is that of the nearest one above it, or of the whole account. Raises Denied."""
    above = None
    for parent in reversed(parents(normalised(local))):
        above = mailbox_lookup.find(tx, owner_id, parent)
        if above is not None:
            break
    if "k" not in rights.of(tx, owner_id, above.id if above is not None else None, user_id):
        raise Denied("you have not the right to make a mailbox there")


def _inherit(tx: Tx, made: Mailbox) -> None:
    for parent in reversed(parents(made.name)):
        above = mailbox_lookup.find(tx, made.user_id, parent)
        if above is not None:
            rights.inherit(tx, made.user_id, above.id, made.id)
            return
