"""Who an SMTP client is: STARTTLS and AUTH, the same in every role that offers them."""

from __future__ import annotations

import structlog

from pillarbox.access import sasl
from pillarbox.access.authenticate import Identity, TemporaryFailure
from pillarbox.access.exchange import Exchange
from pillarbox.access.limits import Role
from pillarbox.smtp.events import Auth, AuthResponse, StartTls

from . import smtp_replies as say
from .begin import begin
from .node import Node
from .peer import Peer
from .smtp_connection import SmtpConnection, Work

log = structlog.get_logger()

AUTH_FAILURES = 3  # of one connection; the last closes it


class LoginSession(SmtpConnection):
    """A conversation up to its first envelope."""

    def __init__(self, node: Node, role: Role = Role.SMTP, peer: Peer | None = None) -> None:
        super().__init__(node, role, peer)
        self.identity: Identity | None = None
        self._exchange: Exchange | None = None
        self._auth_failures = 0

    def end_transaction(self, *, stored: bool = False) -> None:
        """Drop the envelope that is open."""
        raise NotImplementedError

    def forget(self) -> None:
        self.end_transaction()
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
            self.identity = None

    def log_out(self, reason: str) -> None:
        """The account's credentials have changed, see `watch.LoginWatch`."""
        log.info("Session ended: %s", reason, peer=str(self.peer))
        self.part_with(say.LOGGED_OUT)

    def on_starttls(self, event: StartTls) -> Work | None:
        self.end_transaction()
        return self.start_tls()

    def on_auth(self, event: Auth) -> Work | None:
        self._exchange = Exchange(
            self.node.authenticator, event.mechanism, self.core.offer.auth, self.channel, peer=self.peer.address
        )
        return begin(self._authenticate(event.initial))

    def on_auth_response(self, event: AuthResponse) -> Work | None:
        return begin(self._authenticate(event.data))

    async def _authenticate(self, response: bytes | None) -> None:
        assert self._exchange is not None
        try:
            outcome = await self._exchange.step(response)
        except TemporaryFailure:
            self.core.reply(*say.AUTH_TEMPORARY)
            return
        if isinstance(outcome, sasl.Challenge):
            self.core.challenge(outcome.data)
        elif isinstance(outcome, Identity):
            self._logged_in(outcome)
        elif outcome.syntax:
            self.core.reply(*say.AUTH_SYNTAX)
        else:
            self._auth_failed()

    def _logged_in(self, identity: Identity) -> None:
        self.core.accept()
        if not self.closed:
            self.identity = identity
            self.node.logins.add(identity, self)

    def _auth_failed(self) -> None:
        self._auth_failures += 1
        self.core.reply(*(say.AUTH_FAILED if self._auth_failures < AUTH_FAILURES else say.AUTH_TOO_OFTEN))
