"""AUTH as a client speaks it: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 5802, 7677). No I/O; randomness is given.

A mechanism goes through the answers to a server's challenges:

    mechanism = choose(offered, "ada", "secret", nonce)
    core.auth(mechanism.name, mechanism.initial())
    core.respond(mechanism.respond(challenge))       # None cancels
    mechanism.complete                               # after the server's success: it has done its part too
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import unicodedata
from collections.abc import Collection
from typing import Protocol

MAX_ITERATIONS = 1_000_000  # more is no caution of a server but a way to keep us busy
_GS2 = b"n,,"  # no channel binding


class Mechanism(Protocol):
    name: str
    slow: bool  # `respond` takes long enough to do it elsewhere than on an event loop

    def initial(self) -> bytes | None: ...

    def respond(self, challenge: bytes) -> bytes | None: ...

    @property
    def complete(self) -> bool: ...


class Plain:
    name = "PLAIN"
    slow = False
    complete = True

    def __init__(self, username: str, password: str) -> None:
        self._message = f"\0{username}\0{password}".encode()

    def initial(self) -> bytes:
        return self._message

    def respond(self, challenge: bytes) -> bytes | None:
        return self._message if not challenge else None


class Login:
    """What the challenges say differs from server to server; their order does not."""

    name = "LOGIN"
    slow = False
    complete = True

    def __init__(self, username: str, password: str) -> None:
        self._answers = [password.encode(), username.encode()]

    def initial(self) -> None:
        return None

    def respond(self, challenge: bytes) -> bytes | None:
        return self._answers.pop() if self._answers else None


class ScramSha256:
    """The password is not said, and the server proves that it knows it."""

    name = "SCRAM-SHA-256"
    slow = True

    def __init__(self, username: str, password: str, nonce: str) -> None:
        """`nonce`: at least 18 random characters, printable and without a comma."""
        user = unicodedata.normalize("NFKC", username).replace("=", "=3D").replace(",", "=2C")
        self._password = unicodedata.normalize("NFKC", password).encode()
        self._nonce = nonce
        self._first = f"n={user},r={nonce}".encode()
        self._signature: bytes | None = None
        self.complete = False

    def initial(self) -> bytes:
        return _GS2 + self._first

    def respond(self, challenge: bytes) -> bytes | None:
        try:
            return self._final(challenge) if self._signature is None else self._verified(challenge)
        except (ValueError, KeyError):
            return None

    def _final(self, challenge: bytes) -> bytes | None:
        fields = _fields(challenge)
        nonce, salt, rounds = fields["r"], binascii.a2b_base64(fields["s"], strict_mode=True), int(fields["i"])
        if "m" in fields or not nonce.startswith(self._nonce) or nonce == self._nonce or not salt:
            return None
        if not 0 < rounds <= MAX_ITERATIONS:
            return None
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
        client_key = _hmac(salted, b"Client Key")
        without_proof = b"c=" + binascii.b2a_base64(_GS2, newline=False) + b",r=" + nonce.encode()
        everything = b",".join((self._first, challenge, without_proof))
        signature = _hmac(hashlib.sha256(client_key).digest(), everything)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = _hmac(_hmac(salted, b"Server Key"), everything)
        return without_proof + b",p=" + binascii.b2a_base64(proof, newline=False)

    def _verified(self, challenge: bytes) -> bytes | None:
        said = binascii.a2b_base64(_fields(challenge)["v"], strict_mode=True)
        if self._signature is None or not hmac.compare_digest(said, self._signature):
            return None
        self.complete = True
        return b""


def choose(
    offered: Collection[str], username: str, password: str, nonce: str, refused: Collection[str] = ()
) -> Mechanism | None:
    """The best mechanism that the server offers and has not refused; None when there is none."""
    usable = {name.upper() for name in offered} - set(refused)
    if "SCRAM-SHA-256" in usable:
        return ScramSha256(username, password, nonce)
    if "PLAIN" in usable:
        return Plain(username, password)
    return Login(username, password) if "LOGIN" in usable else None


def _fields(message: bytes) -> dict[str, str]:
    return {part[:1]: part[2:] for part in message.decode().split(",") if part[1:2] == "="}


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
