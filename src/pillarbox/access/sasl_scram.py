"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as a server speaks them (RFC 5802, RFC 7677).

The client proves that it knows the password without saying it, and we prove that we have keys made from it. PLUS binds
the proof to the TLS connection, so that nobody in the middle can pass it on. Costs no password hash here.
"""

from __future__ import annotations

import binascii
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NamedTuple

from .sasl import Challenge, Failure, KeysOf, Outcome, Proven, saslname, text_of

_STORED = re.compile(r"SCRAM-SHA-256\$(\d{1,9}):([^$:]*)\$([^$:]*):([^$:]*)")
_PRINTABLE = re.compile(r"[!-+\--~]+")  # a nonce: printable ASCII without the comma
_GS2 = re.compile(r"(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^,]*))?,")

Bindings = Mapping[str, bytes]  # channel binding data by type, RFC 5929


class ScramKeys(NamedTuple):
    """What is kept of a password: `stored` verifies the client's proof, `server` makes ours."""

    iterations: int
    salt: bytes
    stored: bytes
    server: bytes


def parse_keys(text: str) -> ScramKeys | None:
    """What `passwords.scram_keys` wrote; None for anything else, also for an account without such keys."""
    match = _STORED.fullmatch(text)
    if match is None:
        return None
    try:
        salt, stored, server = (binascii.a2b_base64(part, strict_mode=True) for part in match.groups()[1:])
    except binascii.Error:
        return None
    if int(match[1]) < 1 or not salt or len(stored) != 32 or len(server) != 32:
        return None
    return ScramKeys(int(match[1]), salt, stored, server)


def _nonce() -> str:
    return b64encode(secrets.token_bytes(18)).decode()


class Scram:
    """One exchange. `plus`: it is the PLUS mechanism; `plus_offered`: the client was told that we have that.

    `bindings` are those of the connection, empty where the client's TLS may not end here.
    """

    def __init__(
        self, *, plus: bool, plus_offered: bool, bindings: Bindings, nonce: Callable[[], str] = _nonce
    ) -> None:
        self._plus = plus
        self._plus_offered = plus_offered
        self._bindings = bindings
        self._make_nonce = nonce
        self._header = ""  # the client's gs2-header as it came
        self._binding = b""
        self._client_bare = ""
        self._nonce = ""
        self._server_first = ""
        self._known: ScramKeys | None = None

    def step(self, response: bytes | None) -> Outcome:
        text = text_of(response, "a SCRAM message")
        if not isinstance(text, str):
            return text
        return self._first(text) if self._known is None else self._final(text, self._known)

    def keys(self, known: ScramKeys) -> Outcome:
        """The keys that were asked for."""
        self._known = known
        salt = b64encode(known.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={known.iterations}"
        return Challenge(self._server_first.encode())

    def _first(self, text: str) -> Outcome:
        """client-first-message, RFC 5802 section 7."""
        header = _GS2.match(text)
        if header is None:
            return Failure("a SCRAM exchange begins with n, y or p=")
        flag, kind, authzid = header.groups()
        if (refusal := self._bind(flag, kind)) is not None:
            return refusal
        self._header = header[0]
        self._client_bare = text[header.end() :]
        attributes = self._client_bare.split(",")
        if attributes[0].startswith("m="):
            return Failure("no mandatory extension of SCRAM is known")
        if len(attributes) < 2 or not attributes[0].startswith("n=") or not attributes[1].startswith("r="):
            return Failure("a SCRAM exchange begins with a name and a nonce")
        username, nonce = saslname(attributes[0][2:]), attributes[1][2:]
        if not username or "\0" in text or not _PRINTABLE.fullmatch(nonce):
            return Failure("the name or the nonce is malformed")
        if authzid and saslname(authzid) != username:
            return Failure("authorization as another user is not offered", syntax=False)
        self._nonce = nonce + self._make_nonce()
        return KeysOf(username)

    def _bind(self, flag: str | None, kind: str | None) -> Failure | None:
        """RFC 5802 section 6: what the client says of channel binding."""
        if kind is None:
            if self._plus:
                return Failure("SCRAM-SHA-256-PLUS needs channel binding")
            if flag == "y" and self._plus_offered:
                # It could bind and believes that we cannot: somebody took PLUS out of our list on its way.
                return Failure("the list of mechanisms was changed on its way to you", syntax=False)
            return None
        if not self._plus:
            return Failure("channel binding is for SCRAM-SHA-256-PLUS")
        if kind not in self._bindings:
            return Failure(f"channel binding is by {' or '.join(self._bindings)}, not {kind}", syntax=False)
        self._binding = self._bindings[kind]
        return None

    def _final(self, text: str, known: ScramKeys) -> Outcome:
        """client-final-message; the proof is the last attribute."""
        bare, comma, proof = text.rpartition(",p=")
        attributes = bare.split(",")
        if not comma or len(attributes) < 2 or not attributes[0].startswith("c="):
            return Failure("a SCRAM exchange ends with a binding, the nonce and a proof")
        if attributes[1] != f"r={self._nonce}":
            return Failure("the nonce is not the one of this exchange", syntax=False)
        expected = b64encode(self._header.encode() + self._binding).decode()
        if not hmac.compare_digest(attributes[0][2:].encode(), expected.encode()):
            return Failure("the channel binding is not that of this connection", syntax=False)
        try:
            given = binascii.a2b_base64(proof, strict_mode=True)
        except (binascii.Error, ValueError):
            return Failure("the proof is not base64")
        message = f"{self._client_bare},{self._server_first},{bare}".encode()
        signature = hmac.digest(known.stored, message, "sha256")
        if len(given) != len(signature):
            return Failure("the proof is not that of a password", syntax=False)
        key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        if not hmac.compare_digest(sha256(key).digest(), known.stored):
            return Failure("the proof is not that of the password", syntax=False)
        return Proven(b"v=" + b64encode(hmac.digest(known.server, message, "sha256")))
