"""The client's side of SCRAM-SHA-256, written from RFC 5802 section 3 and not from our server."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac, sha256
from typing import Any


class ScramClient:
    """One exchange. `header` is the gs2-header, `binding` what it is bound to."""

    def __init__(
        self, password: str, name: str = "user", *, header: str = "n,,", binding: bytes = b"", nonce: str = "client"
    ) -> None:
        self.header, self.binding, self.password = header, binding, password
        self._bare = f"n={name},r={nonce}"
        self.server_proof = b""

    def first(self) -> bytes:
        return (self.header + self._bare).encode()

    def final(self, challenge: bytes, **changes: Any) -> bytes:
        """The last message; `changes` falsify its `bound`, `nonce` or `proof`."""
        server = challenge.decode()
        fields = dict(field.split("=", 1) for field in server.split(","))
        salted = pbkdf2_hmac("sha256", self.password.encode(), b64decode(fields["s"]), int(fields["i"]))
        bound = b64encode(self.header.encode() + self.binding).decode()
        bare = f"c={changes.get('bound', bound)},r={changes.get('nonce', fields['r'])}"
        message = f"{self._bare},{server},{bare}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(sha256(key).digest(), message, "sha256")
        self.server_proof = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        proof = b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        return f"{bare},p={changes.get('proof', proof)}".encode()
