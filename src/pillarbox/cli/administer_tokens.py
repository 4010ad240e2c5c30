"""`pillarbox token`: bearer tokens for OAUTHBEARER and XOAUTH2, a password for one program."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from pillarbox.cli.administer_users import find
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.store import directory, tokens
from pillarbox.store.records import Token, User
from pillarbox.store.tx import Tx

app = group("Tokens with which a program logs in for an account, without its password.")

DAY = 86_400


def _row(user: User, token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "username": user.username,
        "name": token.name,
        "scope": token.scope,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


@app.command()
def create(
    username: Annotated[str, typer.Argument(help="Username or e-mail address.")],
    name: Annotated[str, typer.Option(help="What it is for, such as the name of a program.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="smtp, imap or pop3; several times. All without it.")] = None,
    days: Annotated[int, typer.Option(help="How long it is good; 0 is for ever.", min=0, max=36_500)] = 0,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is printed now and never again: the database has its hash only."""
    from pillarbox.access.bearer import SCOPES, make_token, token_hash

    wanted = sorted({word for words in scope or () for word in words.replace(",", " ").split()})
    if unknown := [word for word in wanted if word not in SCOPES]:
        raise Refused(f"a scope is one of {', '.join(SCOPES)}, not {unknown[0]}")
    token = make_token()

    def work(tx: Tx) -> dict[str, Any]:
        user = find(tx, username)
        expires_at = int(time.time()) + days * DAY if days else None
        made = tokens.add(tx, user.id, token_hash(token), name=name, scope=" ".join(wanted), expires_at=expires_at)
        return _row(user, made)

    print_done(token, {"token": token} | write(db, work), as_json=as_json)


@app.command("list")
def list_tokens(
    username: Annotated[str, typer.Argument(help="Username or e-mail address; all accounts without it.")] = "",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Tokens there are, expired ones for a month."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        found = tokens.tokens(tx, find(tx, username).id if username else None)
        return [_row(directory.get_user(tx, token.user_id), token) for token in found]

    columns = ["id", "username", "name", "scope", "created_at", "expires_at", "last_used_at"]
    print_rows(read(db, work), columns, as_json=as_json)


@app.command()
def revoke(
    token_id: Annotated[int, typer.Argument(help="Its id, see `pillarbox token list`.", metavar="ID")],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make a token worthless; who is logged in with it is logged out."""

    def work(tx: Tx) -> dict[str, Any]:
        token = tokens.revoke(tx, token_id)
        return _row(directory.get_user(tx, token.user_id), token)

    gone = write(db, work)
    print_done(f"Token {token_id} of {gone['username']} was revoked", gone, as_json=as_json)
