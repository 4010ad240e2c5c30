"""Bearer tokens of accounts. Only their SHA-256 is kept: who reads the database cannot log in with it."""

from __future__ import annotations

from pillarbox.store import directory
from pillarbox.store.errors import Conflict, NotFound
from pillarbox.store.records import Token
from pillarbox.store.tx import Tx

KEPT = 30 * 24 * 3600  # seconds an expired token is still listed

_COLUMNS = "id, user_id, name, token_hash, scope, created_at, expires_at, last_used_at"
_BY_HASH = f"SELECT {_COLUMNS} FROM tokens WHERE token_hash = ?"


def add(tx: Tx, user_id: int, token_hash: str, *, name: str = "", scope: str = "", expires_at: int | None) -> Token:
    """A token of an account; `expires_at` None is for ever. Raises Conflict, NotFound."""
    directory.get_user(tx, user_id)
    if tx.row(_BY_HASH, (token_hash,)):
        raise Conflict("this token exists already")
    token_id = tx.insert(
        "INSERT INTO tokens (user_id, name, token_hash, scope, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        (user_id, name, token_hash, scope, tx.now, expires_at),
    )
    directory.changed(tx, user_id)
    return Token(token_id, user_id, name, token_hash, scope, tx.now, expires_at, None)


def find(tx: Tx, token_hash: str) -> Token | None:
    """The token of this hash unless it has expired. A point read."""
    row = tx.row(_BY_HASH, (token_hash,))
    if row is None:
        return None
    token = Token(*row)
    return None if token.expires_at is not None and token.expires_at <= tx.now else token


def used(tx: Tx, token_id: int) -> None:
    """Once a minute is enough."""
    tx.run(
        "UPDATE tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)",
        (tx.now, token_id, tx.now - 60),
    )


def revoke(tx: Tx, token_id: int) -> Token:
    """It is good for nothing from now on; what it was. Raises NotFound."""
    row = tx.row(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (token_id,))
    if row is None:
        raise NotFound(f"no token {token_id}")
    token = Token(*row)
    tx.run("DELETE FROM tokens WHERE id = ?", (token_id,))
    directory.changed(tx, token.user_id)
    return token


def tokens(tx: Tx, user_id: int | None = None) -> list[Token]:
    """All tokens, or those of one account, expired ones included."""
    where, values = ("", ()) if user_id is None else ("WHERE user_id = ?", (user_id,))
    return [Token(*row) for row in tx.rows(f"SELECT {_COLUMNS} FROM tokens {where} ORDER BY user_id, id", values)]


def trim(tx: Tx, limit: int = 500) -> int:
    """Forget tokens that expired over a month ago, at most `limit`; how many."""
    return tx.run(
        "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at < ? LIMIT ?)", (tx.now - KEPT, limit)
    )
