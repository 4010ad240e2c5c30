"""One AUTH from its first response to the account: drives a mechanism and answers what it asks of the store.

The same for every protocol:

    exchange = Exchange(authenticator, "SCRAM-SHA-256", offered, channel, peer="192.0.2.1", protocol="imap")
    match await exchange.step(initial_response_or_None):
        case Challenge(data): ...      # send it, step again with what comes back
        case Identity(): ...           # logged in
        case Failure(reason, syntax): ...
    # raises TemporaryFailure

Whatever is refused takes a second and is counted; malformed messages are told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .authenticate import Authenticator, Identity
from .sasl import (
    MECHANISMS,
    Certified,
    Challenge,
    Credentials,
    Failure,
    KeysOf,
    Mechanism,
    Outcome,
    Proven,
    Token,
)
from .sasl_external import External
from .sasl_oauth import OAuthBearer, XOAuth2
from .sasl_scram import Bindings, Scram

EXTERNAL, PLUS = "EXTERNAL", "SCRAM-SHA-256-PLUS"
_ALWAYS = ("SCRAM-SHA-256", *MECHANISMS, "OAUTHBEARER", "XOAUTH2")


class Channel(NamedTuple):
    """What the TLS of a connection is good for: `bindings` that SCRAM may be bound to, and the `addresses` of the
    certificate that the client has shown, its `fingerprint` if it is a registered one. Nothing for a connection in the
    clear."""

    bindings: Bindings = {}
    addresses: tuple[str, ...] = ()
    fingerprint: str = ""


NO_CHANNEL = Channel()


def offered(channel: Channel) -> tuple[str, ...]:
    """The mechanisms of a connection. None of them is for one in the clear."""
    # The best first: clients that choose by themselves do not mind, others take the first they know.
    first = (EXTERNAL,) * bool(channel.addresses or channel.fingerprint) + (PLUS,) * bool(channel.bindings)
    return first + _ALWAYS


class Exchange:
    """One exchange of one connection."""

    def __init__(
        self,
        authenticator: Authenticator,
        mechanism: str,
        offer: Sequence[str],
        channel: Channel = NO_CHANNEL,
        *,
        peer: str = "",
        protocol: str = "smtp",
    ) -> None:
        """`mechanism` is one of `offer`, which is what the client was told."""
        self._authenticator = authenticator
        self._peer = peer
        self._protocol = protocol
        self._username = ""
        self._keys_of: Identity | None = None  # whose keys the client is working with
        self._scram: Scram | None = None
        self._identity: Identity | None = None  # proven; the client has our last word
        self._refused: Failure | None = None  # told by a challenge; its answer ends the exchange
        self._mechanism = self._made(mechanism.upper(), PLUS in offer, channel)

    def _made(self, name: str, plus_offered: bool, channel: Channel) -> Mechanism:
        if name.startswith("SCRAM-"):
            self._scram = Scram(plus=name == PLUS, plus_offered=plus_offered, bindings=channel.bindings)
            return self._scram
        if name == EXTERNAL:
            return External(channel.addresses, channel.fingerprint)
        if name == "OAUTHBEARER":
            return OAuthBearer()
        return XOAuth2() if name == "XOAUTH2" else MECHANISMS[name]()

    async def step(self, response: bytes | None) -> Challenge | Identity | Failure:
        """The answer to the client's next response. Raises TemporaryFailure."""
        if self._identity is not None:
            return self._identity
        if self._refused is not None:
            return self._refused
        began = self._authenticator.clock()
        outcome: Outcome = self._mechanism.step(response)
        if isinstance(outcome, KeysOf):
            outcome = await self._keys(outcome.username)
        if isinstance(outcome, Credentials):
            return await self._check(outcome)
        if isinstance(outcome, Token):
            return await self._check_token(outcome)
        if isinstance(outcome, Certified):
            return await self._check_certificate(outcome)
        if isinstance(outcome, Proven):
            return await self._proven(outcome, began)
        assert isinstance(outcome, Challenge | Failure)
        if isinstance(outcome, Failure) and not outcome.syntax:
            await self._authenticator.failed(self._username, self._peer, self._protocol, began)
        return outcome

    async def _check(self, given: Credentials) -> Identity | Failure:
        identity = await self._authenticator.check(given.username, given.password, self._peer, self._protocol)
        return identity or Failure("wrong name or password", syntax=False)

    async def _check_certificate(self, given: Certified) -> Identity | Failure:
        identity = await self._authenticator.check_certificate(
            given.addresses, given.username, self._peer, self._protocol, fingerprint=given.fingerprint
        )
        return identity or Failure("the certificate is for no such account", syntax=False)

    async def _keys(self, username: str) -> Outcome:
        assert self._scram is not None
        self._username = username
        self._keys_of, keys = await self._authenticator.scram_keys(username)
        return self._scram.keys(keys)

    async def _proven(self, proven: Proven, began: float) -> Challenge | Failure:
        """The right proof for the keys that we gave: still those of an account that may log in?"""
        identity = await self._authenticator.proven(self._keys_of, self._username, self._peer, self._protocol, began)
        if identity is None:
            return Failure("wrong name or password", syntax=False)
        self._identity = identity
        return Challenge(proven.data)

    async def _check_token(self, given: Token) -> Challenge | Identity:
        """A bad token is told by a challenge, see `sasl_oauth`."""
        found = await self._authenticator.check_token(given.username, given.token, self._peer, self._protocol)
        if isinstance(found, Identity):
            return found
        self._refused = Failure("the token is not good", syntax=False)
        return Challenge(given.refusal.replace("{}", found).encode())
