"""SMTP from strangers (the port-25 role), submission and LMTP: which event is answered by whom, and the content.

A message is acknowledged after the commit that puts it into mailboxes and queue, and not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.access.senders import Standing
from pillarbox.flow.spool import Spool, SpoolError
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
from pillarbox.store.errors import Busy, StoreError

from . import smtp_replies as say
from . import smtp_story as story
from . import smtp_submission as submission
from .node import Node
from .peer import Peer
from .smtp_connection import Work
from .smtp_envelope import EnvelopeSession
from .smtp_login import LoginSession
from .smtp_receive import Reception
from .smtp_submission import NOTHING, Asked, Submission

log = structlog.get_logger()


class SmtpSession(EnvelopeSession):
    """One client's conversation."""

    def __init__(self, node: Node, role: Role = Role.SMTP, peer: Peer | None = None) -> None:
        super().__init__(node, role, peer)
        self._spool: Spool | None = None
        self._reception: Reception | None = None

    def answer(self, event: Event) -> Work | None:
        return _ANSWERS[type(event)](self, event)

    def end_transaction(self, *, stored: bool = False) -> None:
        if self._spool is not None:
            self._spool.close(stored=stored)
            self._spool = None
        self._reception = None
        super().end_transaction(stored=stored)

    def _on_data(self, event: Data) -> None:
        assert self._mail is not None
        if self.node.disk.is_low():
            self.core.reply(*say.NO_ROOM)
            self.end_transaction()
            return
        self._spool = Spool(self.node)
        self.core.accept()

    def _on_content(self, event: Content) -> Work | None:
        if self._spool is None:
            return None
        if self.core.fault is not None:  # it will be refused: keep nothing of it while the rest comes
            self._spool.close()
            self._spool = None
            return None
        data = event.data
        if self._submission is not None:
            data = self._submission.feed(data)
            if self._submission.refusal is not None:
                self._spool.close()
                self._spool = None
            if not data or self._spool is None:
                return None
        pause = self._spool.feed(data)
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
            self.end_transaction()
            return None
        return self._receive() if self._submission is None else self._submitted(self._submission)

    def _submitted(self, submitted: Submission) -> Work | None:
        """The message of an account is complete: is it from who it says?"""
        rest = submitted.finish()
        if submitted.refusal is not None:
            self._refuse_message(submitted.refusal)
            return None
        assert self._spool is not None
        if rest:
            self._spool.feed(rest)  # if it has to be waited for, `complete` does
        if self.identity is None:
            return self._receive()
        authors = [(author.local, author.domain_key) for author in submitted.authors]
        try:
            found = self.node.standings.now(self.identity.user_id, authors)
        except Busy:
            return self._submitted_later(submitted, authors)
        except StoreError as error:
            self._store_failed(error)
            self.end_transaction()
            return None
        return self._take_authors(submitted, found)

    async def _submitted_later(self, submitted: Submission, authors: list[tuple[str, str]]) -> None:
        assert self.identity is not None
        try:
            found = await self.node.standings.later(self.identity.user_id, authors)
        except StoreError as error:
            self._store_failed(error)
            self.end_transaction()
            return
        storing = self._take_authors(submitted, found)
        if isinstance(storing, asyncio.Future):
            await asyncio.wait((storing,))
            self.resume(storing)
        elif storing is not None:
            await storing

    def _take_authors(self, submitted: Submission, found: Standing) -> Work | None:
        assert self.identity is not None
        refusal = submission.refused_author(found, submitted.authors, self.identity)
        if refusal is None:
            return self._receive()
        self._refuse_message(refusal)
        return None

    def _refuse_message(self, reply: Reply) -> None:
        self.node.slot.add(Field.MESSAGES_REJECTED)
        log.info("Message refused: %d %s", reply.code, reply.text, message_id=self._message_id, peer=str(self.peer))
        sender = self._mail.sender.address if self._mail is not None else ""
        story.refused(self, self._message_id, reply, "END", sender)
        self.core.reply(*reply)
        self.end_transaction()

    def _receive(self) -> Work | None:
        assert self._mail is not None
        assert self._spool is not None
        only = self._last_rcpt if len(self._recipients) == 1 else None
        if self._submission is not None and not any(one.route.users or one.route.lists for one in self._recipients):
            self._spool.pass_on(self._submission.message_id)
        self._reception = Reception(
            self, self._mail, self._hello, self._message_id, self._recipients, only, self._spool, self._asked
        )
        try:
            message = self._reception.complete_now()
        except (SpoolError, StoreError) as error:
            self._reception.failed(error)
            self.end_transaction()
            return None
        if message is None:
            return self._receive_large()
        storing = self._reception.store(message)
        if storing is None:
            self.end_transaction()
        return storing

    async def _receive_large(self) -> None:
        assert self._reception is not None
        message = await self._reception.complete()
        self._spool = self._reception.spool
        storing = self._reception.store(message) if message is not None else None
        if storing is None:
            self.end_transaction()
            return
        await asyncio.wait((storing,))
        self.resume(storing)

    @property
    def _asked(self) -> Asked:
        return NOTHING if self._submission is None else self._submission.asked

    def resume(self, done: asyncio.Future[Any]) -> None:
        assert self._reception is not None
        self.end_transaction(stored=self._reception.stored(done))

    def _on_reset(self, event: Reset) -> None:
        self.end_transaction()

    def _on_quit(self, event: Quit) -> None:
        self.end_transaction()
        self.parted()


async def _awaited(pause: Any) -> None:
    await pause


_ANSWERS: dict[type[Any], Callable[[SmtpSession, Any], Work | None]] = {
    Hello: EnvelopeSession.on_hello,
    Mail: EnvelopeSession.on_mail,
    Rcpt: EnvelopeSession.on_rcpt,
    Data: SmtpSession._on_data,
    Content: SmtpSession._on_content,
    ContentEnd: SmtpSession._on_content_end,
    Auth: LoginSession.on_auth,
    AuthResponse: LoginSession.on_auth_response,
    StartTls: LoginSession.on_starttls,
    Reset: SmtpSession._on_reset,
    Quit: SmtpSession._on_quit,
}
