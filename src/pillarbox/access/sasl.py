"""SASL mechanisms as a server speaks them: what all of them say, PLAIN (RFC 4616) and LOGIN (draft-murchison).

A mechanism is a small state machine over decoded responses; it looks nothing up. `exchange.Exchange` drives one and
answers its questions; the session does the base64.

    outcome = mechanism.step(initial_response_or_None)
    # Challenge(data): send it, step with what comes back · Credentials, Token, Certified: check · Failure: refuse
    # KeysOf(username): find these and go on with `mechanism.keys(found)` · Proven(data): the proof is right
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

_ESCAPES = {"=2C": ",", "=3D": "="}
_ESCAPE = re.compile(r"=(?:2C|3D)?")


@dataclass(frozen=True, slots=True)
class Challenge:
    """Octets to send to the client, before base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client gave: to be checked."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and whose it is to be: "" when the client leaves that to the token. `refusal` is the challenge
    for one that is not good, with {} for the error; the client's answer to it ends the exchange."""

    username: str
    token: str
    refusal: str


@dataclass(frozen=True, slots=True)
class Certified:
    """The addresses of the client's certificate, and whose account it wants: "" when it leaves that to them.
    `fingerprint`: that of a registered one, or ""."""

    username: str
    addresses: tuple[str, ...]
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class KeysOf:
    """The keys of this account are needed before the next challenge."""

    username: str


@dataclass(frozen=True, slots=True)
class Proven:
    """The client knows the password of the account whose keys it was given. `data` is our own proof: the last
    challenge, to which the client has nothing more to say."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """The exchange is over. `syntax` tells malformed (501 5.5.2) from refused (535 5.7.8)."""

    reason: str
    syntax: bool = True


Outcome = Challenge | Credentials | Token | Certified | KeysOf | Proven | Failure


class Mechanism(Protocol):
    def step(self, response: bytes | None) -> Outcome:
        """The next move. `response` is decoded; None when the client has not said anything yet."""


def saslname(text: str) -> str | None:
    """A name in a GS2 header or a SCRAM message, decoded (RFC 5801 section 4); None for a malformed one."""
    if any(escape not in _ESCAPES for escape in _ESCAPE.findall(text)):
        return None
    return _ESCAPE.sub(lambda escape: _ESCAPES[escape[0]], text)


def text_of(response: bytes | None, what: str) -> str | Challenge | Failure:
    """A client's message as text; else what to say: the empty challenge that asks for the first one (RFC 4422 section
    3.1), or that `what` is UTF-8."""
    if response is None:
        return Challenge(b"")
    try:
        return response.decode()
    except UnicodeDecodeError:
        return Failure(f"{what} is UTF-8")


class Plain:
    """authzid NUL authcid NUL passwd. Nobody acts for somebody else here, so authzid is empty or equals authcid."""

    def step(self, response: bytes | None) -> Outcome:
        if response is None:
            return Challenge(b"")
        fields = response.split(b"\0")
        if len(fields) != 3:
            return Failure("a PLAIN response has three fields")
        try:
            authzid, username, password = (field.decode() for field in fields)
        except UnicodeDecodeError:
            return Failure("a PLAIN response is UTF-8")
        if not username or not password:
            return Failure("a PLAIN response needs a name and a password", syntax=False)
        if authzid not in ("", username):
            return Failure("authorization as another user is not offered", syntax=False)
        return Credentials(username, password)


class Login:
    """Two questions, name and password. Some clients send the name with the command."""

    def __init__(self) -> None:
        self._asked = False
        self._username: str | None = None

    def step(self, response: bytes | None) -> Outcome:
        if response is None:
            self._asked = True
            return Challenge(b"Username:")
        try:
            text = response.decode()
        except UnicodeDecodeError:
            return Failure("a LOGIN response is UTF-8")
        if self._username is None:
            self._username = text
            return Challenge(b"Password:")
        if not self._username or not text:
            return Failure("LOGIN needs a name and a password", syntax=False)
        return Credentials(self._username, text)


MECHANISMS: dict[str, type[Plain | Login]] = {"PLAIN": Plain, "LOGIN": Login}
