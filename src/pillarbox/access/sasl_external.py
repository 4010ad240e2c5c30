"""EXTERNAL (RFC 4422 appendix A): the client is whose certificate it has shown in the TLS handshake.

It says nothing but who it wants to be, or nothing at all when the certificate leads to one account only.
"""

from __future__ import annotations

from collections.abc import Sequence

from .sasl import Certified, Failure, Outcome, text_of


class External:
    """`addresses` are those of the certificate, `fingerprint` is its own if it is a registered one."""

    def __init__(self, addresses: Sequence[str], fingerprint: str = "") -> None:
        self._addresses = tuple(addresses)
        self._fingerprint = fingerprint

    def step(self, response: bytes | None) -> Outcome:
        username = text_of(response, "an EXTERNAL response")
        if not isinstance(username, str):
            return username
        if "\0" in username:
            return Failure("an EXTERNAL response holds no NUL")
        return Certified(username, self._addresses, self._fingerprint)
