"""Who else may do what in an account's mailboxes (RFC 4314): rights of a user, or of anyone, in one mailbox or in all.

What is said of a mailbox stands before what is said of all; negative rights take away at the end. The owner has every
right. A change counts as a change of the directory, and stamps the mailboxes, so that every session looks.
"""

from __future__ import annotations

from collections.abc import Iterable

from pillarbox.store.errors import Invalid, NotFound
from pillarbox.store.tx import DIRECTORY, Row, Tx

ALL = "lrswipkxtena"
ANYONE = "anyone"
_VIRTUAL = {"c": "kx", "d": "te"}  # RFC 4314 section 2.1.1

_ROWS = (
    "SELECT a.mailbox_id, a.user_id, a.negative, a.rights, u.username FROM acl a LEFT JOIN users u ON u.id = a.user_id "
    "WHERE a.owner_id = ? AND (a.mailbox_id IS NULL OR a.mailbox_id = ?)"
)
_ONE = "owner_id = ? AND coalesce(mailbox_id, 0) = ? AND coalesce(user_id, 0) = ? AND negative = ?"


def parse(text: str) -> str:
    """Rights in their order; c and d are what they stand for. Raises Invalid for a letter that is none."""
    letters = {real for letter in text for real in _VIRTUAL.get(letter, letter)}
    if unknown := letters - set(ALL):
        raise Invalid(f"there is no right {min(unknown)}")
    return ordered(letters)


def ordered(letters: Iterable[str]) -> str:
    wanted = set(letters)
    return "".join(letter for letter in ALL if letter in wanted)


def of(tx: Tx, owner_id: int, mailbox_id: int | None, user_id: int) -> str:
    """What an account may do in a mailbox; with None in all of the owner's."""
    if owner_id == user_id:
        return ALL
    rows = tx.rows(f"{_ROWS} AND (a.user_id IS NULL OR a.user_id = ?)", (owner_id, mailbox_id or 0, user_id))
    return effective(rows)


def effective(rows: Iterable[Row]) -> str:
    """The rights that rows about one user and anyone come to; those of the mailbox itself stand before the others."""
    best: dict[tuple[int | None, int], Row] = {}
    for row in rows:
        key = (row[1], row[2])
        if key not in best or row[0] is not None:
            best[key] = row
    given = {letter for (_, negative), row in best.items() if not negative for letter in row[3]}
    taken = {letter for (_, negative), row in best.items() if negative for letter in row[3]}
    return ordered(given - taken)


def listed(tx: Tx, owner_id: int, mailbox_id: int | None) -> list[tuple[str, str]]:
    """Pairs of identifier ("anyone", a username, or one of them with a minus) and rights, without the owner's."""
    best: dict[str, tuple[bool, str]] = {}
    for of_mailbox, user_id, negative, rights, username in tx.rows(_ROWS, (owner_id, mailbox_id or 0)):
        name = ("-" if negative else "") + (ANYONE if user_id is None else username)
        if name not in best or of_mailbox is not None:
            best[name] = (of_mailbox is not None, rights)
    return sorted((name, rights) for name, (_, rights) in best.items() if rights)


def change(tx: Tx, owner_id: int, mailbox_id: int | None, identifier: str, operation: str, rights: str) -> str:
    """Set ("=") the rights of an identifier, add ("+") or take ("-") some; what they are then.

    Raises NotFound (no such user), Invalid (the owner, a letter that is none).
    """
    negative = identifier.startswith("-")
    name = identifier.removeprefix("-")
    user_id = None if name.lower() == ANYONE else _user(tx, name)
    if user_id == owner_id:
        raise Invalid("the owner of a mailbox has every right")
    letters = set(parse(rights))
    if operation != "=":
        own = [
            row for row in tx.rows(_ROWS, (owner_id, mailbox_id or 0)) if row[1] == user_id and bool(row[2]) == negative
        ]
        had = set(effective([(*row[:2], 0, *row[3:]) for row in own]))
        letters = had | letters if operation == "+" else had - letters
    key = (owner_id, mailbox_id or 0, user_id or 0, int(negative))
    tx.run(f"DELETE FROM acl WHERE {_ONE}", key)
    # Of one mailbox no right at all is said too: it stands before what is said of all.
    if letters or mailbox_id is not None:
        tx.insert(
            "INSERT INTO acl (owner_id, mailbox_id, user_id, negative, rights) VALUES (?, ?, ?, ?, ?)",
            (owner_id, mailbox_id, user_id, int(negative), ordered(letters)),
        )
    tell(tx, owner_id, mailbox_id)
    return ordered(letters)


def inherit(tx: Tx, owner_id: int, parent_id: int, child_id: int) -> None:
    """A new mailbox begins with the rights of the one above it."""
    tx.run(
        "INSERT INTO acl (owner_id, mailbox_id, user_id, negative, rights) "
        "SELECT owner_id, ?, user_id, negative, rights FROM acl WHERE owner_id = ? AND mailbox_id = ?",
        (child_id, owner_id, parent_id),
    )


def tell(tx: Tx, owner_id: int, mailbox_id: int | None) -> None:
    """Rights have changed: whoever has such a mailbox open looks."""
    modseq = tx.next_modseq(owner_id)
    where, values = ("user_id = ?", owner_id) if mailbox_id is None else ("id = ?", mailbox_id)
    tx.run(f"UPDATE mailboxes SET highestmodseq = ? WHERE {where}", (modseq, values))
    for (touched,) in tx.rows(f"SELECT id FROM mailboxes WHERE {where}", (values,)):
        tx.touch(owner_id, touched)
    tx.touch(*DIRECTORY)


def _user(tx: Tx, name: str) -> int:
    row = tx.row("SELECT id FROM users WHERE lower(username) = lower(?)", (name,))
    if row is None:
        raise NotFound(f"no user {name}")
    return int(row[0])
