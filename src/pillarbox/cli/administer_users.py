"""`pillarbox user`: accounts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.cli.command_line import AsJson, Database, PasswordStdin, Refused, group, read, write
from pillarbox.cli.secrets_input import obtain_password
from pillarbox.cli.tables import print_done, print_one, print_rows
from pillarbox.store import directory
from pillarbox.store.quota import ACCOUNT_ROOT, QuotaRoot, set_limits
from pillarbox.store.records import User
from pillarbox.store.tx import Tx

app = group("Accounts.")

Username = Annotated[str, typer.Argument(help="Username or e-mail address.")]


def row_of(user: User) -> dict[str, Any]:
    """What is shown of an account: no hash and no key."""
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "enabled": user.enabled,
        "role": user.role,
        "quota_limit": user.quota_limit,
        "quota_used": user.quota_used,
        "quota_messages": user.quota_messages,
        "quota_mailboxes": user.quota_mailboxes,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "last_login": user.last_login,
        "sending_held_at": user.sending_held_at,
        "sending_held_reason": user.sending_held_reason,
    }


def find(tx: Tx, username: str) -> User:
    """Raises Refused."""
    found = directory.user(tx, username)
    if found is None:
        raise Refused(f"no user {username}")
    return found


@app.command("list")
def list_users(db: Database = None, as_json: AsJson = False, limit: int = 1000) -> None:
    """All accounts, by username."""
    rows = [row_of(user) for user in read(db, lambda tx: directory.users(tx, limit))]
    print_rows(rows, ["id", "username", "email", "enabled", "role", "quota_used", "last_login"], as_json=as_json)


@app.command()
def show(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """Everything about one account."""
    print_one(row_of(read(db, lambda tx: find(tx, username))), as_json=as_json)


@app.command()
def add(
    username: Annotated[str, typer.Argument(help="Usually the e-mail address.")],
    email: Annotated[str, typer.Option(help="The e-mail address, if it is not the username.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="An administrator.")] = False,
    quota: Annotated[int, typer.Option(help="MB, 0 is unlimited.", min=0)] = 0,
    password_stdin: PasswordStdin = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make an account with its first mailboxes. The password comes from a pipe or a prompt."""
    from pillarbox.access.passwords import hash_password

    password = obtain_password(None, from_stdin=password_stdin, confirm=True)
    hashed, scram = hash_password(password)
    role = "admin" if admin else "user"

    def make(tx: Tx) -> User:
        return directory.create_user(tx, username, email or username, hashed, scram, role=role, quota_limit=quota << 20)

    made = write(db, make, create=True)
    print_done(f"User {made.username} was made", row_of(made), as_json=as_json)


@app.command()
def remove(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """Remove an account and its mail."""

    def work(tx: Tx) -> User:
        found = find(tx, username)
        directory.delete_user(tx, username)
        return found

    gone = write(db, work)
    print_done(f"User {gone.username} was removed", row_of(gone), as_json=as_json)


@app.command()
def enable(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """Let it log in and receive again."""
    _set_enabled(username, True, db, as_json)


@app.command()
def disable(username: Username, db: Database = None, as_json: AsJson = False) -> None:
    """No login, no mail; its sessions end."""
    _set_enabled(username, False, db, as_json)


def _set_enabled(username: str, enabled: bool, db: Database, as_json: bool) -> None:
    def work(tx: Tx) -> User:
        found = find(tx, username)
        directory.set_enabled(tx, found.username, enabled)
        return directory.get_user(tx, found.id)

    user = write(db, work)
    print_done(f"User {user.username} is {'enabled' if enabled else 'disabled'}", row_of(user), as_json=as_json)


@app.command()
def password(
    username: Username, password_stdin: PasswordStdin = False, db: Database = None, as_json: AsJson = False
) -> None:
    """Set a new password, from a pipe or a prompt; old logins end."""
    from pillarbox.access.passwords import hash_password

    read(db, lambda tx: find(tx, username))
    hashed, scram = hash_password(obtain_password(None, from_stdin=password_stdin, confirm=True))

    def work(tx: Tx) -> User:
        directory.set_password(tx, username, hashed, scram)
        return find(tx, username)

    user = write(db, work)
    print_done(f"The password of {user.username} was changed", row_of(user), as_json=as_json)


@app.command()
def quota(
    username: Username,
    megabytes: Annotated[int | None, typer.Argument(help="0 is unlimited; without it nothing changes.", min=0)] = None,
    messages: Annotated[int | None, typer.Option(help="How many messages, 0 is unlimited.", min=0)] = None,
    mailboxes: Annotated[int | None, typer.Option(help="How many mailboxes, 0 is unlimited.", min=0)] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Limit what an account may keep, or show its limits and what it keeps."""

    def work(tx: Tx) -> tuple[User, QuotaRoot]:
        user = find(tx, username)
        octets = user.quota_limit if megabytes is None else megabytes << 20
        counts = (messages, user.quota_messages), (mailboxes, user.quota_mailboxes)
        limits = [octets, *(was if now is None else now for now, was in counts)]
        root = set_limits(tx, f"{ACCOUNT_ROOT}{user.username}", *limits)
        return find(tx, username), root

    user, root = write(db, work)
    row = row_of(user) | {"messages": root.messages[0], "mailboxes": root.mailboxes[0]}
    print_done(f"The quota of {user.username} is {said_of(root)}", row, as_json=as_json)


def said_of(root: QuotaRoot) -> str:
    """Limits and usage in words."""
    limits = [f"{root.storage[1] / (1 << 20):.15g} MB ({root.storage[0] / (1 << 20):.1f} used)"] * bool(root.storage[1])
    for (used, limit), what in ((root.messages, "messages"), (root.mailboxes, "mailboxes")):
        if limit:
            limits.append(f"{limit} {what} ({used} used)")
    return ", ".join(limits) or "unlimited"
