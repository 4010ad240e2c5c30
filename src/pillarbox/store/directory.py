"""Who is here: accounts, domains, aliases.

A user is found by username or by e-mail address, without regard to ASCII case. Whatever changes here, by whomever, adds
one to the directory's version (triggers do), so that every worker forgets within a second what it cached
(`Touched(0, 0)`).
"""

from __future__ import annotations

from typing import Any

from pillarbox.store import annotating, mailboxes
from pillarbox.store.addresses import address_key, domain_key, domain_name, split
from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.records import Alias, Domain, User
from pillarbox.store.tx import Row, Tx

FIRST_MAILBOXES: tuple[tuple[str, str | None], ...] = (
    ("INBOX", None),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Archive", "\\Archive"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
)

_USER = (
    "id, username, email, enabled, role, password_hash, scram_sha256, credentials_version, quota_limit, quota_used, "
    "created_at, updated_at, last_login, modseq, sending_held_at, sending_held_reason, quota_messages, quota_mailboxes"
)
_BY_USERNAME = f"SELECT {_USER} FROM users WHERE lower(username) = lower(?)"
_BY_EMAIL = f"SELECT {_USER} FROM users WHERE lower(email) = lower(?)"
_BY_ID = f"SELECT {_USER} FROM users WHERE id = ?"


def create_user(
    tx: Tx,
    username: str,
    email: str,
    password_hash: str,
    scram: str = "",
    *,
    role: str = "user",
    quota_limit: int = 0,
) -> User:
    """A new account with its first mailboxes, all subscribed. `quota_limit` in octets, 0 is none.

    Raises Conflict (username or address is taken), Invalid.
    """
    if not username or len(username) > 320 or any(c < " " or c == "\x7f" for c in username):
        raise Invalid("a username is empty, too long, or contains control characters")
    local, domain = split(email)
    domain_name(domain)
    address = f"{local}@{domain}"
    if tx.row(_BY_USERNAME, (username,)) or tx.row(_BY_EMAIL, (username,)):
        raise Conflict(f"user {username!r} already exists")
    if tx.row(_BY_EMAIL, (address,)) or tx.row(_BY_USERNAME, (address,)):
        raise Conflict(f"the address {address} belongs to another user")
    user_id = tx.insert(
        "INSERT INTO users (username, email, email_domain, password_hash, scram_sha256, role, quota_limit, created_at, "
        "updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (username, address, domain, password_hash, scram, role, quota_limit, tx.now, tx.now),
    )
    for name, special_use in FIRST_MAILBOXES:
        mailboxes.create(tx, user_id, name, special_use)
        mailboxes.subscribe(tx, user_id, name)
    changed(tx, user_id)
    return get_user(tx, user_id)


def user(tx: Tx, username: str) -> User | None:
    """The account of this username, or else of this e-mail address."""
    row = tx.row(_BY_USERNAME, (username,))
    if row is None and "@" in username:
        local, _, domain = username.rpartition("@")
        row = tx.row(_BY_EMAIL, (f"{local}@{domain_key(domain)}",))
    return None if row is None else _user(row)


def get_user(tx: Tx, user_id: int) -> User:
    """Raises NotFound."""
    row = tx.row(_BY_ID, (user_id,))
    if row is None:
        raise NotFound("no such user")
    return _user(row)


def users(tx: Tx, limit: int = 1000, after: str = "") -> list[User]:
    """Accounts by username, `limit` at a time: `after` is the last username of the page before."""
    rows = tx.rows(
        f"SELECT {_USER} FROM users WHERE lower(username) > lower(?) ORDER BY lower(username) LIMIT ?", (after, limit)
    )
    return [_user(row) for row in rows]


def oldest_credentials(tx: Tx) -> tuple[str, str]:
    """Password hash and SCRAM keys of the first account there was; without one, ones that nobody can log in with."""
    row = tx.row("SELECT password_hash, scram_sha256 FROM users ORDER BY id LIMIT 1")
    return (row[0], row[1]) if row else ("!", "")


def set_password(tx: Tx, username: str, password_hash: str, scram: str) -> None:
    """Old logins end. Raises NotFound."""
    _update(
        tx,
        username,
        "password_hash = ?, scram_sha256 = ?, credentials_version = credentials_version + 1",
        (password_hash, scram),
    )


def upgrade_hash(tx: Tx, user_id: int, old: str, new: str, scram: str) -> bool:
    """Replace a hash by a better one of the same password; nobody is logged out. False: changed in the meantime."""
    changes = tx.run(
        "UPDATE users SET password_hash = ?, scram_sha256 = ? WHERE id = ? AND password_hash = ?",
        (new, scram, user_id, old),
    )
    return bool(changes)


def set_enabled(tx: Tx, username: str, enabled: bool) -> None:
    """A disabled account takes no mail and no login; its sessions end. Raises NotFound."""
    _update(tx, username, "enabled = ?, credentials_version = credentials_version + 1", (int(enabled),))


def set_quota(tx: Tx, username: str, octets: int) -> None:
    """0 is no limit. What is over it already stays. Raises NotFound, Invalid."""
    if octets < 0:
        raise Invalid("a quota cannot be negative")
    _update(tx, username, "quota_limit = ?", (octets,))


def record_login(tx: Tx, user_id: int) -> None:
    """Once a minute is enough."""
    tx.run(
        "UPDATE users SET last_login = ? WHERE id = ? AND (last_login IS NULL OR last_login < ?)",
        (tx.now, user_id, tx.now - 60),
    )


def delete_user(tx: Tx, username: str) -> int:
    """Remove an account at once; its id. The rows of its mail go page by page (`mailboxes.purge_deleted`).

    Mail it put into the queue still leaves. Aliases to it stay and lead nowhere. Raises NotFound.
    """
    account = _existing(tx, username)
    tx.lock([account.id])
    for mailbox in mailboxes.list_mailboxes(tx, account.id):
        tx.touch(account.id, mailbox.id)
    tx.run("UPDATE mailboxes SET user_id = NULL, deleted_at = ? WHERE user_id = ?", (tx.now, account.id))
    tx.run("DELETE FROM subscriptions WHERE user_id = ?", (account.id,))
    annotating.forget_user(tx, account.id)
    tx.run("DELETE FROM users WHERE id = ?", (account.id,))
    changed(tx, account.id)
    return account.id


def create_domain(tx: Tx, name: str, catch_all: str | None = None) -> Domain:
    """A domain whose mail is ours. Raises Conflict, Invalid."""
    key = domain_name(name)
    if tx.row("SELECT 1 FROM domains WHERE name = ?", (key,)):
        raise Conflict(f"domain {key} already exists")
    target = None if catch_all is None else address_key(catch_all)
    tx.insert("INSERT INTO domains (name, catch_all, created_at) VALUES (?, ?, ?)", (key, target, tx.now))
    changed(tx)
    return _domain(tx, key)


def set_domain(tx: Tx, name: str, *, enabled: bool | None = None, catch_all: str | None = None) -> Domain:
    """Change what is given; `catch_all` "" removes it. Raises NotFound, Invalid (an address)."""
    domain = _domain(tx, domain_key(name))
    target = domain.catch_all if catch_all is None else address_key(catch_all) if catch_all else None
    tx.run(
        "UPDATE domains SET enabled = ?, catch_all = ? WHERE id = ?",
        (int(domain.enabled if enabled is None else enabled), target, domain.id),
    )
    changed(tx)
    return _domain(tx, domain.name)


def delete_domain(tx: Tx, name: str) -> None:
    """Users with an address in it keep it, and while there is one the domain stays local. Raises NotFound."""
    if not tx.run("DELETE FROM domains WHERE name = ?", (domain_key(name),)):
        raise NotFound(f"no domain {name}")
    changed(tx)


def domains(tx: Tx) -> list[Domain]:
    rows = tx.rows("SELECT id, name, enabled, catch_all, created_at FROM domains ORDER BY name")
    return [Domain(id, name, bool(enabled), catch_all, created) for id, name, enabled, catch_all, created in rows]


def add_alias(tx: Tx, address: str, target: str) -> Alias:
    """Mail for `address` goes to `target` too, here or elsewhere. An alias stands before a user of that address;
    one that leads to itself keeps a copy for that user.

    Raises Conflict (it is there), Invalid.
    """
    address, target = address_key(address), address_key(target)
    domain_name(address.rpartition("@")[2])
    if address == target and tx.row(_BY_EMAIL, (address,)) is None:
        raise Invalid("an alias leads to itself, and there is no user of that address")
    if tx.row("SELECT 1 FROM aliases WHERE address = ? AND target = ?", (address, target)):
        raise Conflict(f"alias {address} to {target} already exists")
    alias_id = tx.insert(
        "INSERT INTO aliases (address, target, created_at) VALUES (?, ?, ?)", (address, target, tx.now)
    )
    changed(tx)
    return Alias(alias_id, address, target, tx.now)


def remove_alias(tx: Tx, address: str, target: str | None = None) -> int:
    """One alias, or all of the address; how many. Raises NotFound, Invalid."""
    key = address_key(address)
    if target is None:
        gone = tx.run("DELETE FROM aliases WHERE address = ?", (key,))
    else:
        gone = tx.run("DELETE FROM aliases WHERE address = ? AND target = ?", (key, address_key(target)))
    if not gone:
        raise NotFound(f"no alias {address}")
    changed(tx)
    return gone


def aliases(tx: Tx, address: str | None = None) -> list[Alias]:
    """All aliases, or those of one address."""
    if address is None:
        rows = tx.rows("SELECT id, address, target, created_at FROM aliases ORDER BY address, target")
    else:
        rows = tx.rows(
            "SELECT id, address, target, created_at FROM aliases WHERE address = ? ORDER BY target",
            (address_key(address),),
        )
    return [Alias(*row) for row in rows]


def changed(tx: Tx, user_id: int = 0) -> None:
    """Tell watchers that the directory changed. Its version, by which other processes see it, grew by itself."""
    tx.touch(0, 0)
    if user_id:
        tx.touch(user_id, 0)


def _user(row: Row) -> User:
    values: list[Any] = [*row]
    values[3] = bool(row[3])
    return User(*values)


def _existing(tx: Tx, username: str) -> User:
    found = user(tx, username)
    if found is None:
        raise NotFound(f"no user {username!r}")
    return found


def _update(tx: Tx, username: str, assignments: str, values: tuple[object, ...]) -> None:
    account = _existing(tx, username)
    tx.run(f"UPDATE users SET {assignments}, updated_at = ? WHERE id = ?", (*values, tx.now, account.id))
    changed(tx, account.id)


def _domain(tx: Tx, key: str) -> Domain:
    row = tx.row("SELECT id, name, enabled, catch_all, created_at FROM domains WHERE name = ?", (key,))
    if row is None:
        raise NotFound(f"no domain {key}")
    return Domain(row[0], row[1], bool(row[2]), row[3], row[4])
