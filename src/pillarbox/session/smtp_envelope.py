"""The envelope of a message: who may send what to whom, decided at MAIL and RCPT.

Anybody may send to the accounts and aliases of this server; only who has logged in may send elsewhere, or anything at
all by submission (RFC 6409).
"""

from __future__ import annotations

import structlog

from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.access.senders import Standing
from pillarbox.flow import route
from pillarbox.flow.deliver import Recipient
from pillarbox.flow.route import Refusal, Route
from pillarbox.smtp import replies
from pillarbox.smtp.address import Path
from pillarbox.smtp.events import Hello, Mail, Rcpt
from pillarbox.smtp.replies import Reply
from pillarbox.store.errors import Busy, Full, Invalid, StoreError

from . import smtp_replies as say
from . import smtp_story as story
from . import smtp_submission as submission
from .node import Node
from .peer import Peer
from .smtp_connection import Work
from .smtp_login import LoginSession
from .smtp_policy import login_required
from .smtp_submission import Asked, Submission

log = structlog.get_logger()


class EnvelopeSession(LoginSession):
    """A conversation up to the content of a message."""

    def __init__(self, node: Node, role: Role = Role.SMTP, peer: Peer | None = None) -> None:
        super().__init__(node, role, peer)
        self._hello = Hello("", False)
        self._mail: Mail | None = None
        self._message_id = ""
        self._recipients: list[Recipient] = []
        self._last_rcpt: Path | None = None
        self._submission: Submission | None = None  # mends the header of what an account or a program sends

    @property
    def hello(self) -> str:
        """What the client calls itself."""
        return self._hello.name

    def end_transaction(self, *, stored: bool = False) -> None:
        if self._submission is not None:
            self._submission.close()
            self._submission = None
        self._mail = None
        self._recipients = []

    def on_hello(self, event: Hello) -> None:
        self.end_transaction()
        self._hello = event
        self.heard()
        self.core.accept()

    def on_mail(self, event: Mail) -> Work | None:
        self._message_id = self.node.ids()
        refusal = self._not_now()
        if refusal is not None:
            self._refuse_mail(event, refusal)
            return None
        if self.identity is not None:  # on port 25 too
            return self._submit(event)
        self._mail = event
        self._submission = self._mending(event)
        self.core.accept()
        return None

    def _mending(self, event: Mail) -> Submission | None:
        """What mends the header of a message that no account submits."""
        return None

    def _not_now(self) -> Reply | None:
        """Why this client may begin no transaction, whoever the sender is."""
        settings = self._settings
        if self.role is not Role.LMTP:
            if self.secured is None and (settings.refuse_cleartext_strangers or self._submits_too_early()):
                return replies.NEEDS_TLS
            if self.identity is None and self._login_required():
                return replies.NEEDS_AUTH
            if not self._within_rate():
                log.warning(f"Security event from {self.peer}: Rate limit exceeded", message_id=self._message_id)
                return say.RATE_LIMITED
        return say.NO_ROOM if self.node.disk.is_low() else None

    def _submit(self, event: Mail) -> Work | None:
        """MAIL of an account: may it send, and as this sender?"""
        assert self.identity is not None
        wishes = submission.asked(event, self._settings, self.node.clock())
        if isinstance(wishes, Reply):
            self._refuse_mail(event, wishes)
            return None
        # The null sender is for what programs answer by themselves, such as disposition notifications (RFC 8098).
        sender = [] if event.sender.is_null else [(event.sender.local, event.sender.domain_key)]
        try:
            found = self.node.standings.now(self.identity.user_id, sender)
        except Busy:
            return self._submit_later(event, wishes, sender)
        except StoreError as error:
            self._store_failed(error)
            return None
        self._take_sender(event, wishes, found)
        return None

    async def _submit_later(self, event: Mail, wishes: Asked, sender: list[tuple[str, str]]) -> None:
        assert self.identity is not None
        try:
            found = await self.node.standings.later(self.identity.user_id, sender)
        except StoreError as error:
            self._store_failed(error)
            return
        if not self.closed:
            self._take_sender(event, wishes, found)

    def _take_sender(self, event: Mail, wishes: Asked, found: Standing) -> None:
        assert self.identity is not None
        refusal = submission.refused_sender(found, event, self.identity)
        if refusal is not None:
            self._refuse_mail(event, refusal)
            return
        self._mail = event
        self._submission = Submission(
            self.identity.email, wishes, self._message_id, self.core.hostname, self.node.clock(), self.node.memory
        )
        said = wishes.reply
        if said is None:
            self.core.accept()
        else:
            self.core.reply(*said)

    def _submits_too_early(self) -> bool:
        return self.role is Role.SUBMISSION and self.core.offer.starttls and not self.core.offer.auth_in_clear

    def _login_required(self) -> bool:
        return login_required(self._settings, self.role)

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

    def on_rcpt(self, event: Rcpt) -> Work | None:
        assert self._mail is not None
        local, domain = self._looked_up(event.recipient)
        try:
            found = self._route_now(local, domain)
        except Busy:
            return self._rcpt_later(event, local, domain)
        except StoreError as error:
            self._store_failed(error)
            return None
        return self._decide(event, found)

    def _route_now(self, local: str, domain: str) -> Route:
        assert self._mail is not None
        routes = self.node.routes
        if self._may_relay() and routes.is_elsewhere(domain):
            return route.ELSEWHERE
        return routes.now(local, domain, self._mail.size or 0, self._mail.sender.address)

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
        if refusal is Refusal.NOT_OURS and self._may_relay():
            self._accept_rcpt(event, route.relayed(event.recipient.address))
            return None
        self._refuse_rcpt(event, say.refused(refusal, self._settings.quota_full))
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
            self._refuse_rcpt(event, say.refused(found.refusal, self._settings.quota_full))

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
