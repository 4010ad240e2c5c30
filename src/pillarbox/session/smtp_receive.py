"""From the last octet of a message to the reply: traced, stored by one commit, answered and logged."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.flow import deliver as flow
from pillarbox.flow.account_hold import hold_rest
from pillarbox.flow.allowance import Held, OverLimit, Submitted, submit
from pillarbox.flow.deliver import Envelope, Recipient, Result
from pillarbox.flow.sending.handover import Handover
from pillarbox.flow.spool import Spool, SpoolError
from pillarbox.mime.downgrade import Untouchable
from pillarbox.smtp.address import Path
from pillarbox.smtp.events import Hello, Mail
from pillarbox.smtp.received import Trace, received, with_protocol
from pillarbox.smtp.replies import ACCEPTED, Reply
from pillarbox.store.errors import Full, StoreError
from pillarbox.store.records import NewMessage

from . import smtp_replies as say
from . import smtp_story as story
from . import smtp_submission as submission
from .binary_mail import encoded
from .smtp_submission import NOTHING, Asked

if TYPE_CHECKING:
    from .smtp import SmtpSession

log = structlog.get_logger()

MAX_HOPS = 100  # Received fields, RFC 5321 section 6.3


class Reception:
    """One whole message of one session."""

    __slots__ = (
        "_asked",
        "_body",
        "_header_id",
        "_hello",
        "_mail",
        "_only",
        "_recipients",
        "_session",
        "message_id",
        "spool",
    )

    def __init__(
        self,
        session: SmtpSession,
        mail: Mail,
        hello: Hello,
        message_id: str,
        recipients: list[Recipient],
        only: Path | None,
        spool: Spool,
        asked: Asked = NOTHING,
    ) -> None:
        """`only`: the recipient, when there is a single one. `asked`: what an account asks of delivery."""
        self._session = session
        self._mail = mail
        self._hello = hello
        self._recipients = tuple(recipients)
        self._only = only
        self._body: str = mail.body
        self.spool = spool  # another one after `complete` of binary mail
        self._asked = asked
        self._header_id = ""
        self.message_id = message_id

    async def complete(self) -> NewMessage | None:
        """The message, when that needs waiting; None when it was refused."""
        try:
            message = await self.spool.finish()
            if self._is_binary_mail:
                self.spool, message = await encoded(self._session.node, self.spool, message)
                self._body = "8BITMIME"
            return message
        except (SpoolError, StoreError) as error:
            self.failed(error)
        except Untouchable as error:
            self._not_encoded(error)
        return None

    def complete_now(self) -> NewMessage | None:
        """The message, when it is small; None when it was refused or needs `complete`. Raises as the spool does."""
        message = self.spool.finish_now()
        return None if self._is_binary_mail else message

    @property
    def _is_binary_mail(self) -> bool:
        """Whether a NUL comes for somebody's mailbox. What only passes through stays as it is."""
        return self.spool.has_nul and any(one.route.users or one.route.lists for one in self._recipients)

    def store(self, message: NewMessage) -> asyncio.Future[Result] | asyncio.Future[Submitted] | None:
        """Hand the message to the store; None when it was refused."""
        session = self._session
        if self.spool.hops > MAX_HOPS:
            log.warning("Message refused: too many hops", message_id=self.message_id, peer=str(session.peer))
            session.node.slot.add(Field.MESSAGES_REJECTED)
            self._refused(say.TOO_MANY_HOPS)
            self._answer_all(say.TOO_MANY_HOPS)
            return None
        self._header_id = message.analysis.message_id
        if self.spool.has_nul:  # what it is counts, not what it was called: many clients say nothing at all
            self._body = "BINARYMIME"
        elif self.spool.has_8bit and self._body == "7BIT":
            self._body = "8BITMIME"
        sender = self._mail.sender
        arrived = session.node.clock()
        envelope = Envelope(
            message_id=self.message_id,
            sender=sender.address,
            recipients=self._recipients,
            trace=self._trace(arrived),
            arrived=arrived,
            hostname=session.core.hostname,
            envid=self._mail.envid,
            reports=session.role is not Role.LMTP,
            ret=self._mail.ret,
            body=self._body,
            smtputf8=self._mail.smtputf8,
            user_id=session.identity.user_id if session.identity is not None else None,
            priority=self._asked.priority,
            not_before=self._asked.not_before,
            deliver_by=self._asked.deliver_by,
            deliver_mode=self._asked.deliver_mode,
        )
        planned = flow.plan(envelope, message, self.spool.head)
        size = len(message.packed) if message.packed is not None else 0
        handover, head = session.node.handover, self.spool.head
        warm = handover.warm() if handover is not None else None
        given = (envelope, planned, message, head, warm)
        store = session.node.store
        storing: asyncio.Future[Result] | asyncio.Future[Submitted]
        if envelope.user_id is None:
            storing = store.write(flow.deliver, *given, size=size)
        else:
            storing = store.write(submit, submission.allowance(session.node.settings), *given, size=size)
        if handover is not None:  # whatever becomes of this session
            content = head if len(head) == message.analysis.size else None
            storing.add_done_callback(partial(_hand_over, handover, content))
        return storing

    def stored(self, done: asyncio.Future[Result] | asyncio.Future[Submitted]) -> bool:
        """Answer with what the store says; whether anything of the message was kept."""
        try:
            result = done.result()
        except StoreError as error:
            self.failed(error)
            return False
        except (Held, OverLimit) as error:
            self._over(error)
            return False
        session = self._session
        if isinstance(result, Submitted):
            result, reason = result
            if reason:
                self._held(reason)
        slot = session.node.slot
        if None not in result.errors:
            slot.add(Field.MESSAGES_REJECTED)
            log.info("Message refused: %s", result.errors[0], message_id=self.message_id, peer=str(session.peer))
            for recipient, word in zip(self._recipients, result.errors, strict=True):
                self._refused(self._outcome(word or ""), recipient.address)
        else:
            slot.add(Field.LMTP_MESSAGES_RECEIVED if session.role is Role.LMTP else Field.MESSAGES_RECEIVED)
            slot.add(Field.BYTES_RECEIVED, self.spool.size)
            slot.add(Field.MESSAGES_DELIVERED, result.delivered)
            slot.add(Field.MESSAGES_QUEUED, result.queued)
            self._log(result)
            sender = self._mail.sender.address
            story.accepted(session, self.message_id, sender, result, self.spool.size, self._header_id)
        self._answer(result)
        return result.delivered + result.queued > 0

    def _over(self, error: Held | OverLimit) -> None:
        """The account may not send this, or nothing at all."""
        node = self._session.node
        node.slot.add(Field.MESSAGES_REJECTED)
        node.slot.add(Field.RATE_LIMIT_HITS)
        log.warning("Message refused: %s", error, message_id=self.message_id, peer=str(self._session.peer))
        reply = submission.refused_by_limit(error, node.clock())
        self._refused(reply)
        self._answer_all(reply)

    def _held(self, reason: str) -> None:
        """The account is held since this message: so is the rest of what it has in the queue, page by page."""
        session = self._session
        identity = session.identity
        assert identity is not None
        log.warning(
            "The account %s was held: %s", identity.username, reason, message_id=self.message_id, peer=str(session.peer)
        )
        session.node.story.note(self.message_id, "held", text=f"the account {identity.username} was held: {reason}")
        task = asyncio.get_running_loop().create_task(hold_rest(session.node.store, identity.user_id))
        _holding.add(task)
        task.add_done_callback(_rest_held)

    def failed(self, error: Exception) -> None:
        """The message could not be kept for now: the client tries again."""
        node = self._session.node
        node.slot.add(Field.ERRORS)
        node.slot.add(Field.MESSAGES_REJECTED)
        if isinstance(error, Full):
            node.disk.full()
        log.error("Message not stored: %s", error, message_id=self.message_id, peer=str(self._session.peer))
        reply = say.NO_ROOM if isinstance(error, Full | SpoolError) else say.LOCAL_ERROR
        self._refused(reply)
        self._answer_all(reply)

    def _not_encoded(self, error: Untouchable) -> None:
        node = self._session.node
        node.slot.add(Field.MESSAGES_REJECTED)
        log.warning("Message refused: %s", error, message_id=self.message_id, peer=str(self._session.peer))
        reply = Reply(554, "5.6.3", f"Message refused: it holds a NUL, and cannot be encoded: {error}")
        self._refused(reply)
        self._answer_all(reply)

    def _refused(self, reply: Reply, recipient: str = "") -> None:
        story.refused(self._session, self.message_id, reply, "END", self._mail.sender.address, recipient)

    def _trace(self, arrived: float) -> bytes:
        session = self._session
        secured = session.secured
        protocol = with_protocol(
            esmtp=self._hello.esmtp,
            lmtp=session.role is Role.LMTP,
            tls=secured is not None,
            auth=session.identity is not None,
            utf8=self._mail.smtputf8,
        )
        shown = session.role is not Role.SUBMISSION or session.node.settings.submission_show_client
        trace = Trace(
            helo=self._hello.name if shown else "",
            address=session.peer.address if shown else "",
            by=session.core.hostname,
            protocol=protocol,
            message_id=self.message_id,
            epoch=arrived,
            tls=" ".join(secured) if secured is not None else "",
        )
        return received(trace, self._only)

    def _answer(self, result: Result) -> None:
        core = self._session.core
        if self._session.role is Role.LMTP:  # one reply a recipient, RFC 2033 section 4.2
            for error in result.errors:
                core.reply(*(_accepted(self.message_id) if error is None else self._outcome(error)))
        elif None in result.errors:
            core.reply(*_accepted(self.message_id))
        else:  # of one who may have it later nobody is told that it failed for good
            core.reply(*max((self._outcome(error or "") for error in result.errors), key=_may_pass))

    def _outcome(self, error: str) -> Reply:
        return say.outcome(error, self._session.node.settings.quota_full)

    def _answer_all(self, reply: Reply) -> None:
        for _ in self._recipients if self._session.role is Role.LMTP else (0,):
            self._session.core.reply(*reply)

    def _log(self, result: Result) -> None:
        sender = self._mail.sender.address
        recipients = self._recipients
        log.info(
            f"Message received: FROM={sender}, recipients={len(recipients)}, size={self.spool.size} bytes",
            message_id=self.message_id,
            peer=str(self._session.peer),
        )
        for recipient, error in zip(recipients, result.errors, strict=True):
            if error is not None:
                log.warning("Not delivered: TO=%s: %s", recipient.address, error, message_id=self.message_id)
        if result.dropped_reports:
            log.warning("%d failures without a report", result.dropped_reports, message_id=self.message_id)


def _hand_over(handover: Handover, content: bytes | None, done: asyncio.Future[Any]) -> None:
    if done.cancelled() or done.exception() is not None:
        return
    result = done.result()
    if isinstance(result, Submitted):
        result = result.result
    handover.accepted(result.plans, result.outcomes, content)


def _may_pass(reply: Reply) -> bool:
    """Whether it asks the client to try again (RFC 5321 section 4.2.1)."""
    return reply.code < 500


def _accepted(message_id: str) -> Reply:
    code, enhanced, text = ACCEPTED
    return Reply(code, enhanced, f"{text}, id {message_id}")


_holding: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected before it ends


def _rest_held(done: asyncio.Task[None]) -> None:
    _holding.discard(done)
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("Not all of a held account's queue is held: `pillarbox user hold` does the rest", error=str(error))
