"""SMTP from strangers (the port-25 role), submission and LMTP: what is answered to each event of the core.

Who may do what here: anybody may send to the accounts and aliases of this server; only who has logged in may send
elsewhere, or anything at all by submission (RFC 6409). A message is acknowledged after the commit that puts it into
mailboxes and queue, and not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from pillarbox.access import sasl
from pillarbox.access.authenticate import Identity, TemporaryFailure
from pillarbox.access.exchange import Exchange
from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.flow import route
from pillarbox.flow.deliver import Recipient
from pillarbox.flow.route import Refusal, Route
from pillarbox.flow.spool import Spool, SpoolError
from pillarbox.smtp.address import Path
from pillarbox.smtp.events import (
    Auth,
    AuthResponse,
    Content,
    ContentEnd,
    Data,
    Event,
    Hello,
    Mail,
    Quit,
    Rcpt,
    Reset,
    StartTls,
)
from pillarbox.smtp.replies import Reply
from pillarbox.store.errors import Busy, Full, Invalid, StoreError

from . import smtp_replies as say
from . import smtp_story as story
from .node import Node
from .peer import Peer
from .smtp_connection import SmtpConnection, Work
from .smtp_receive import Reception

log = structlog.get_logger()

AUTH_FAILURES = 3  # of one connection; the last closes it


class SmtpSession(SmtpConnection):
    """One client's conversation."""

    def __init__(self, node: Node, role: Role = Role.SMTP, peer: Peer | None = None) -> None:
        super().__init__(node, role, peer)
        self.identity: Identity | None = None
        self._hello = Hello("", False)
        self._mail: Mail | None = None
        self._message_id = ""
        self._recipients: list[Recipient] = []
        self._last_rcpt: Path | None = None
        self._spool: Spool | None = None
        self._reception: Reception | None = None
        self._exchange: Exchange | None = None
        self._auth_failures = 0

    @property
    def hello(self) -> str:
        """What the client calls itself."""
        return self._hello.name

    def answer(self, event: Event) -> Work | None:
        return _ANSWERS[type(event)](self, event)

    def forget(self) -> None:
        self._end_transaction()
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
            self.identity = None

    def log_out(self, reason: str) -> None:
        """The account's credentials have changed, see `watch.LoginWatch`."""
        log.info("Session ended: %s", reason, peer=str(self.peer))
        self.part_with(say.LOGGED_OUT)

    def _end_transaction(self, *, stored: bool = False) -> None:
        if self._spool is not None:
            self._spool.close(stored=stored)
            self._spool = None
        self._mail = self._reception = None
        self._recipients = []

    # Greeting, TLS, AUTH.

    def _on_hello(self, event: Hello) -> None:
        self._end_transaction()
        self._hello = event
        self.heard()
        self.core.accept()

    def _on_starttls(self, event: StartTls) -> Work | None:
        self._end_transaction()
        return self.start_tls()

    def _on_auth(self, event: Auth) -> Work | None:
        self._exchange = Exchange(
            self.node.authenticator, event.mechanism, self.core.offer.auth, self.bindings, peer=self.peer.address
        )
        return self._authenticate(event.initial)

    def _on_auth_response(self, event: AuthResponse) -> Work | None:
        return self._authenticate(event.data)

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

    # The envelope.

    def _on_mail(self, event: Mail) -> None:
        node, settings, lmtp = self.node, self._settings, self.role is Role.LMTP
        self._message_id = node.ids()
        if not lmtp:
            if self.secured is None and (settings.refuse_cleartext_strangers or self._submits_too_early()):
                return self._refuse_mail(event, say.NEEDS_TLS)
            if self.identity is None and self._login_required():
                return self._refuse_mail(event, say.NEEDS_AUTH)
            if not self._within_rate():
                log.warning(f"Security event from {self.peer}: Rate limit exceeded", message_id=self._message_id)
                return self._refuse_mail(event, say.RATE_LIMITED)
        if node.disk.is_low():
            return self._refuse_mail(event, say.NO_ROOM)
        self._mail = event
        self.core.accept()
        return None

    def _submits_too_early(self) -> bool:
        return self.role is Role.SUBMISSION and self.core.offer.starttls and not self.core.offer.auth_in_clear

    def _login_required(self) -> bool:
        """RFC 6409 section 4.3; on the port-25 role only when the operator said so."""
        settings = self._settings
        return self.role is Role.SUBMISSION or (settings.require_auth and settings.explicit("SMTP_REQUIRE_AUTH"))

    def _within_rate(self) -> bool:
        limiter, settings = self.node.limiter, self._settings
        if self.identity is not None:
            return limiter.rate_of(b"user", self.identity.username.encode(), settings.rate_limit_per_user)
        return limiter.rate(self.peer.address, settings.rate_limit_per_ip)

    def _refuse_mail(self, event: Mail, reply: Reply) -> None:
        self.node.slot.add(Field.MESSAGES_REJECTED)
        log.info(
            "Mail refused: FROM=%s: %d %s",
            event.sender.address,
            reply.code,
            reply.text,
            message_id=self._message_id,
            peer=str(self.peer),
        )
        story.refused(self, self._message_id, reply, "MAIL", event.sender.address)
        self.core.reply(*reply)

    def _on_rcpt(self, event: Rcpt) -> Work | None:
        assert self._mail is not None
        local, domain = self._looked_up(event.recipient)
        try:
            found = self.node.routes.now(local, domain, self._mail.size or 0, self._mail.sender.address)
        except Busy:
            return self._rcpt_later(event, local, domain)
        except StoreError as error:
            self._store_failed(error)
            return None
        return self._decide(event, found)

    def _looked_up(self, path: Path) -> tuple[str, str]:
        """Local part and domain for the directory. A literal of our own address is this host (RFC 5321 4.1.3)."""
        if path.is_literal and path.domain in (f"[{self.peer.local}]", f"[ipv6:{self.peer.local}]"):
            return path.local, ""
        return path.local, path.domain_key

    async def _rcpt_later(self, event: Rcpt, local: str, domain: str) -> None:
        assert self._mail is not None
        try:
            found = await self.node.routes.later(local, domain, self._mail.size or 0, self._mail.sender.address)
        except StoreError as error:
            self._store_failed(error)
            return
        later = self._decide(event, found)
        if later is not None:
            await later

    def _decide(self, event: Rcpt, found: Route) -> Work | None:
        refusal = found.refusal
        if refusal is None:
            self._accept_rcpt(event, found)
            return None
        if refusal in (Refusal.UNKNOWN, Refusal.NOT_OURS) and self._settings.accept_all and event.recipient.domain:
            return self._make_mailbox(event)
        if refusal is Refusal.NOT_OURS and self._may_relay() and not event.recipient.is_literal:
            self._accept_rcpt(event, route.relayed(event.recipient.address))
            return None
        self._refuse_rcpt(event, say.ROUTES[refusal])
        return None

    def _may_relay(self) -> bool:
        return self.identity is not None

    async def _make_mailbox(self, event: Rcpt) -> None:
        local, domain = self._looked_up(event.recipient)
        try:
            found = await self.node.store.write(route.make_mailbox, local, domain)
        except Invalid:
            self._refuse_rcpt(event, say.NO_MAILBOX)
            return
        except StoreError as error:
            self._store_failed(error)
            return
        if found.refusal is None:
            self._accept_rcpt(event, found)
        else:
            self._refuse_rcpt(event, say.ROUTES[found.refusal])

    def _accept_rcpt(self, event: Rcpt, found: Route) -> None:
        if self.closed:
            return
        self._recipients.append(Recipient(event.recipient.address, found, event.notify, event.orcpt))
        self._last_rcpt = event.recipient
        self.core.accept()

    def _refuse_rcpt(self, event: Rcpt, reply: Reply) -> None:
        assert self._mail is not None
        self.node.slot.add(Field.MESSAGES_REJECTED)
        log.info(
            "Recipient refused: FROM=%s TO=%s: %d %s",
            self._mail.sender.address,
            event.recipient.address,
            reply.code,
            reply.text,
            message_id=self._message_id,
            peer=str(self.peer),
        )
        story.refused(self, self._message_id, reply, "RCPT", self._mail.sender.address, event.recipient.address)
        self.core.reply(*reply)

    def _store_failed(self, error: StoreError) -> None:
        self.node.slot.add(Field.ERRORS)
        log.error("The store cannot answer: %s", error, message_id=self._message_id, peer=str(self.peer))
        self.core.reply(*(say.NO_ROOM if isinstance(error, Full) else say.LOCAL_ERROR))

    # The content.

    def _on_data(self, event: Data) -> None:
        assert self._mail is not None
        if self.node.disk.is_low():
            self.core.reply(*say.NO_ROOM)
            self._end_transaction()
            return
        self._spool = Spool(self.node, self._mail.size or 0)
        self.core.accept()

    def _on_content(self, event: Content) -> Work | None:
        if self._spool is None:
            return None
        if self.core.fault is not None:  # it will be refused: keep nothing of it while the rest comes
            self._spool.close()
            self._spool = None
            return None
        pause = self._spool.feed(event.data)
        if pause is None:
            return None
        self.stop_reading()
        return _awaited(pause)

    def _on_content_end(self, event: ContentEnd) -> Work | None:
        if event.fault is not None:
            self.node.slot.add(Field.MESSAGES_REJECTED)
            log.warning(
                "Message refused: %s", event.fault, message_id=self._message_id, peer=str(self.peer), size=event.size
            )
            story.faulty(
                self, self._message_id, event.fault, self._mail.sender.address if self._mail is not None else ""
            )
            self._end_transaction()
            return None
        assert self._mail is not None
        assert self._spool is not None
        only = self._last_rcpt if len(self._recipients) == 1 else None
        self._reception = Reception(
            self, self._mail, self._hello, self._message_id, self._recipients, only, self._spool
        )
        try:
            message = self._reception.complete_now()
        except (SpoolError, StoreError) as error:
            self._reception.failed(error)
            self._end_transaction()
            return None
        if message is None:
            return self._receive_large()
        storing = self._reception.store(message)
        if storing is None:
            self._end_transaction()
        return storing

    async def _receive_large(self) -> None:
        assert self._reception is not None
        message = await self._reception.complete()
        storing = self._reception.store(message) if message is not None else None
        if storing is None:
            self._end_transaction()
            return
        await asyncio.wait((storing,))
        self.resume(storing)

    def resume(self, done: asyncio.Future[Any]) -> None:
        assert self._reception is not None
        self._end_transaction(stored=self._reception.stored(done))

    def _on_reset(self, event: Reset) -> None:
        self._end_transaction()

    def _on_quit(self, event: Quit) -> None:
        self._end_transaction()
        self.parted()


async def _awaited(pause: Any) -> None:
    await pause


_ANSWERS: dict[type[Any], Callable[[SmtpSession, Any], Work | None]] = {
    Hello: SmtpSession._on_hello,
    Mail: SmtpSession._on_mail,
    Rcpt: SmtpSession._on_rcpt,
    Data: SmtpSession._on_data,
    Content: SmtpSession._on_content,
    ContentEnd: SmtpSession._on_content_end,
    Auth: SmtpSession._on_auth,
    AuthResponse: SmtpSession._on_auth_response,
    StartTls: SmtpSession._on_starttls,
    Reset: SmtpSession._on_reset,
    Quit: SmtpSession._on_quit,
}
