"""Bearer tokens of ours: a password for one program, which can be taken back without changing the account's.

A token is 32 random octets in text; the store has its hash only. `scope` names the protocols it is good for, separated
by spaces; an empty one is good for all.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

from pillarbox.store import directory, tokens
from pillarbox.store.records import Token, User
from pillarbox.store.tx import Tx

PREFIX = "pbx_"  # so that scanners for secrets that got out can tell one
SCOPES = ("imap", "pop3", "smtp")
INVALID, TOO_NARROW = "invalid_token", "insufficient_scope"  # RFC 6750 section 3.1


def make_token() -> str:
    """A new token, to be shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """The form in which the store has it. A plain hash will do, since nobody can guess 32 octets."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def covers(scope: str, protocol: str) -> bool:
    return not scope or protocol in scope.split()


def find(tx: Tx, username: str, hashed: str) -> tuple[Token, User] | None:
    """The token and its account, when it is good and the account is the one named ("": whoever's it is)."""
    token = tokens.find(tx, hashed)
    if token is None:
        return None
    user = directory.get_user(tx, token.user_id)
    if username:
        named = directory.user(tx, username)
        if named is None or named.id != user.id:
            return None
    return token, user


def is_good(tx: Tx, user_id: int, token_id: int) -> bool:
    """Whether a token that somebody has logged in with was neither revoked nor has expired."""
    mine = [token for token in tokens.tokens(tx, user_id) if token.id == token_id]
    return bool(mine) and (mine[0].expires_at is None or mine[0].expires_at > tx.now)
