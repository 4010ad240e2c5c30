"""`pillarbox user`: accounts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.cli.command_line import AsJson, Database, PasswordStdin, Refused, group, read, write
from pillarbox.cli.secrets_input import obtain_password
from pillarbox.cli.tables import print_done, print_one, print_rows
from pillarbox.store import directory
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
    megabytes: Annotated[int, typer.Argument(help="0 is unlimited.", min=0)],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Limit what an account may keep."""

    def work(tx: Tx) -> User:
        directory.set_quota(tx, find(tx, username).username, megabytes << 20)
        return find(tx, username)

    user = write(db, work)
    said = f"{megabytes} MB" if megabytes else "unlimited"
    print_done(f"The quota of {user.username} is {said}", row_of(user), as_json=as_json)
