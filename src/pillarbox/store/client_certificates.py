"""Certificates of clients that lead to one account each, by their fingerprint: whoever made them, and whoever else is
named in them. TLS believes them because they are here, so the whole certificate is kept.
"""

from __future__ import annotations

import hashlib

import msgspec

from pillarbox.store import directory
from pillarbox.store.errors import Conflict, NotFound
from pillarbox.store.tx import Row, Tx

MOST = 1000  # that handshakes know; each of them costs every worker some kilobytes, and a tenth of a millisecond

_COLUMNS = "id, user_id, fingerprint, name, not_after, created_at"


class ClientCertificate(msgspec.Struct, frozen=True, gc=False):
    """`fingerprint`: SHA-256 of the certificate (DER) in hexadecimal digits; `not_after`: its end (epoch seconds)."""

    id: int
    user_id: int
    fingerprint: str
    name: str
    not_after: int
    created_at: int


def fingerprint_of(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def add(tx: Tx, user_id: int, der: bytes, not_after: int, name: str = "") -> ClientCertificate:
    """From now on this certificate logs in this account. Raises Conflict (it is somebody's, or there are too many),
    NotFound."""
    directory.get_user(tx, user_id)
    fingerprint = fingerprint_of(der)
    if find(tx, fingerprint) is not None:
        raise Conflict("this certificate is registered already")
    (count,) = tx.row("SELECT count(*) FROM client_certificates") or (0,)
    if count >= MOST:
        raise Conflict(f"there are at most {MOST} certificates")
    made = tx.insert(
        "INSERT INTO client_certificates (user_id, fingerprint, certificate, name, not_after, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (user_id, fingerprint, der, name, not_after, tx.now),
    )
    directory.changed(tx, user_id)
    return ClientCertificate(made, user_id, fingerprint, name, not_after, tx.now)


def find(tx: Tx, fingerprint: str) -> ClientCertificate | None:
    """A point read."""
    return _of(tx.row(f"SELECT {_COLUMNS} FROM client_certificates WHERE fingerprint = ?", (fingerprint,)))


def remove(tx: Tx, certificate_id: int) -> ClientCertificate:
    """It logs in nobody any more; what it was. Raises NotFound."""
    found = _of(tx.row(f"SELECT {_COLUMNS} FROM client_certificates WHERE id = ?", (certificate_id,)))
    if found is None:
        raise NotFound(f"no certificate {certificate_id}")
    tx.run("DELETE FROM client_certificates WHERE id = ?", (certificate_id,))
    directory.changed(tx, found.user_id)
    return found


def is_there(tx: Tx, user_id: int, certificate_id: int) -> bool:
    """Whether a certificate that somebody has logged in with is still this account's and has not ended."""
    row = tx.row(f"SELECT {_COLUMNS} FROM client_certificates WHERE id = ? AND user_id = ?", (certificate_id, user_id))
    return row is not None and ClientCertificate(*row).not_after > tx.now


def certificates(tx: Tx, user_id: int | None = None) -> list[ClientCertificate]:
    """All, or those of one account, with those that have ended."""
    where, values = ("", ()) if user_id is None else ("WHERE user_id = ?", (user_id,))
    rows = tx.rows(f"SELECT {_COLUMNS} FROM client_certificates {where} ORDER BY user_id, id", values)
    return [ClientCertificate(*row) for row in rows]


def believed(tx: Tx) -> tuple[bytes, ...]:
    """Those that have not ended, DER, for handshakes. A scan."""
    rows = tx.rows(
        "SELECT certificate FROM client_certificates WHERE not_after > ? ORDER BY id LIMIT ?", (tx.now, MOST)
    )
    return tuple(bytes(der) for (der,) in rows)


def _of(row: Row | None) -> ClientCertificate | None:
    return None if row is None else ClientCertificate(*row)
