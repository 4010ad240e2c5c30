"""A lane: messages, one after the other, through a connection to one host of a hop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from pillarbox.flow.parcel import Hop, HopDown, Outcome, Parcel, Reply, Result, Stage
from pillarbox.smtp.answer import Answer
from pillarbox.smtp.client_events import ContentWanted, Done
from pillarbox.smtp.outgoing import limit
from pillarbox.store.errors import StoreError
from pillarbox.store.store import Store

from .outgoing_connection import Connection, Ended
from .outgoing_content import Content
from .outgoing_letter import Letter, Refused, letter_for
from .outgoing_self import round_in_circles
from .outgoing_timeouts import SLOWEST

log = structlog.get_logger()

MAX_MESSAGES = 1000  # on one connection
_GUESSED = ("LOST", "TIMEOUT", "PROTOCOL")  # stages whose answer is ours, not the server's
_MISSING = 530  # a login, or TLS
_PERHAPS = "; all of the message was sent: it may have been delivered, and comes twice then"

Decision = tuple[str, Answer]


class OutgoingLane:
    """See `flow.parcel.Lane`. When the server ends a connection that served before, which it may do at any time, a
    message that it has said nothing to goes through a new one."""

    def __init__(
        self,
        hop: Hop,
        connection: Connection,
        store: Store,
        reopen: Callable[[Hop], Awaitable[Connection]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hop = hop
        self._connection = connection
        self._store = store
        self._reopen = reopen
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._begin()

    def _begin(self) -> None:
        self._opened = self._loop.time()
        self._messages = 0
        # RFC 9422: transactions of a connection, recipients of a transaction.
        extensions = self._connection.core.extensions
        self._most = limit(extensions, "MAILMAX") or MAX_MESSAGES
        self._group = limit(extensions, "RCPTMAX") or 1_000_000

    @property
    def usable(self) -> bool:
        connection = self._connection
        return (
            self._alive
            and not connection.core.awaiting
            and self._messages < self._most
            and self._loop.time() - self._opened < connection.timeouts.idle
        )

    @property
    def _alive(self) -> bool:
        return not self._connection.lost and not self._connection.core.closed

    @property
    def begun(self) -> bool:
        return self._begun

    async def close(self) -> None:
        await self._connection.leave()

    async def send(self, parcel: Parcel) -> list[Outcome]:
        """One outcome for each recipient, in their order."""
        replies: dict[int, tuple[Result, Reply]] = {}
        self._begun = False
        try:
            await self._send(parcel, replies)
        except HopDown as down:
            self._decide(parcel, replies, "failed" if down.permanent else "deferred", down.reply)
        except StoreError as error:
            log.warning("A queued message cannot be read", message=parcel.message_key, error=str(error))
            self._decide(parcel, replies, "deferred", self._ours(451, "4.3.0", "the message cannot be read just now"))
        except asyncio.CancelledError:
            self._connection.abort()
            raise
        except Exception:
            log.exception("A message could not be sent", message=parcel.message_key)
            self._connection.abort()
            self._decide(parcel, replies, "deferred", self._ours(451, "4.3.0", "an error of this server"))
        extensions = self._connection.core.extensions
        dsn, in_time = "DSN" in extensions, "DELIVERBY" in extensions
        return [
            Outcome(recipient.queue_id, result, reply, dsn and result == "delivered", in_time and result == "delivered")
            for number, recipient in enumerate(parcel.recipients)
            for result, reply in (replies[number],)
        ]

    # Inside.

    async def _send(self, parcel: Parcel, replies: dict[int, tuple[Result, Reply]]) -> None:
        """Fill `replies`, by number of the recipient."""
        content = Content(self._store, parcel.prefix, parcel.blob_id, parcel.size, parcel.content)
        await content.begin_in_time()
        self._look_for_goodbye()
        if not self._alive:
            await self._renew()
        while len(replies) < len(parcel.recipients):
            connection = self._connection
            times = round_in_circles(content.head, connection.own, namesake=connection.namesake)
            if times:
                text = (
                    f"the message goes round in circles: it has come through this server {times} times already, and "
                    f"is not given to {connection.host} once more"
                )
                self._decide(parcel, replies, "failed", self._ours(554, "5.4.6", text))
                return
            try:
                letter = await letter_for(
                    parcel,
                    connection.core.extensions,
                    content,
                    host=connection.host,
                    now=self._clock(),
                    last=self._hop.kind == "lmtp",
                )
            except Refused as refused:
                self._decide(parcel, replies, "failed", connection.reply("POLICY", refused.answer))
                return
            for number, answer in letter.refused.items():
                replies.setdefault(number, ("failed", connection.reply("POLICY", answer)))
            wanted = [pair for pair in letter.recipients if pair[0] not in replies][: self._group]
            if not wanted:
                return
            if not self._alive and self._messages == 0:
                raise HopDown(self._ours(421, "4.4.2", f"{connection.host} ended the connection at once", "LOST"))
            if not self._alive or self._messages >= self._most:
                await self._renew()
                continue
            before = connection.core.answered
            decisions = await self._transaction(letter, content, [line for _, line in wanted])
            if self._was_gone(decisions, before):
                await self._renew()
                continue
            self._messages += 1
            again = _too_many(decisions)
            for place, (number, _) in enumerate(wanted):
                if place not in again:
                    replies[number] = self._outcome(*decisions[place])
            await self._settled()

    async def _renew(self) -> None:
        """Another connection in the place of this one. Raises HopDown."""
        old = self._connection
        await old.leave()
        self._connection = await self._reopen(self._hop)
        self._begin()

    def _look_for_goodbye(self) -> None:
        """Take in what the server has said since the last message."""
        while self._connection.poll() is not None:
            pass

    def _was_gone(self, decisions: Sequence[Decision], before: int) -> bool:
        """The server ended a used connection instead of answering MAIL; a new one is worth a try."""
        connection = self._connection
        if self._messages == 0 or self._alive:
            return False
        silent = connection.core.answered == before and decisions[0][0] == "LOST"
        goodbye = connection.core.answered == before + 1 and decisions[0][1].code == 421
        return silent or goodbye

    async def _transaction(self, letter: Letter, content: Content, recipients: Sequence[bytes]) -> Sequence[Decision]:
        connection = self._connection
        core = connection.core
        sent = False
        until = self._loop.time() + connection.timeouts.envelope
        core.send(letter.mail, recipients, chunked=letter.chunked)
        try:
            event = await connection.event(until)
            if isinstance(event, ContentWanted):
                self._begun = True
                until = self._loop.time() + connection.timeouts.end + content.size / SLOWEST
                event = await self._pour(content, until)
                if event is None:
                    sent = connection.open
                    event = await connection.event(until + connection.timeouts.envelope)
        except Ended as ended:
            core.give_up(ended.stage, ended.answer)
            event = connection.poll()
        except StoreError:
            connection.abort()  # without the final dot: the server must not take a part for the whole
            raise
        if not isinstance(event, Done):  # cannot be
            connection.abort()
            raise RuntimeError(f"{event!r} ends no transaction")
        if core.closed:
            connection.abort()
        note = _PERHAPS if sent else ""
        return [
            (stage, _with_note(answer, note) if stage in _GUESSED else answer)
            for stage, answer in zip(event.stages, event.answers, strict=True)
        ]

    async def _pour(self, content: Content, until: float) -> Done | None:
        """Give the content, and wait for the server to take it. An early refusal ends it."""
        connection = self._connection
        core = connection.core
        held = content.at_hand or b""
        if not held:
            async for piece in content.pieces():
                if held:
                    core.content(held)
                    event = await connection.drained(until)
                    if event is None and core.awaiting and "PIPELINING" not in core.extensions:
                        event = await connection.event(until)  # to each BDAT
                    if isinstance(event, Done):
                        return event
                held = piece
        core.content(held)
        core.end_content()  # the last piece and the final dot, or all of a small message, are one write
        event = connection.poll()
        return event if isinstance(event, Done) else None

    async def _settled(self) -> None:
        """After a failed transaction a RSET is to be answered."""
        if self._alive and self._connection.core.awaiting:
            try:
                while await self._connection.event() is not None:
                    pass
            except Ended:
                self._connection.abort()

    def _outcome(self, stage: str, answer: Answer) -> tuple[Result, Reply]:
        reply = self._connection.reply(stage, answer)
        if stage == "END" and answer.ok:
            return "delivered", reply
        # RFC 4954 section 6, RFC 3207 section 4: it wants a login, or TLS. What a route lacks its operator adds.
        ours = answer.code == _MISSING and not self._hop.by_domain
        return ("failed" if answer.code // 100 == 5 and not ours else "deferred"), reply

    def _ours(self, code: int, enhanced: str, text: str, stage: Stage = "POLICY") -> Reply:
        return self._connection.said(stage, code, enhanced, text)

    def _decide(self, parcel: Parcel, replies: dict[int, tuple[Result, Reply]], result: Result, reply: Reply) -> None:
        for number in range(len(parcel.recipients)):
            replies.setdefault(number, (result, reply))


def _with_note(answer: Answer, note: str) -> Answer:
    return Answer(answer.code, answer.enhanced, (answer.text + note,)) if note else answer


def _too_many(decisions: Sequence[Decision]) -> set[int]:
    """Places of recipients that the server refused because it had enough of them: they go into the next transaction
    (RFC 5321 section 4.5.3.1.10, where 552 is an old form of 452). Only when it has taken the others."""
    if not any(stage == "END" and answer.ok for stage, answer in decisions):
        return set()
    taken = False
    found = set()
    for place, (stage, answer) in enumerate(decisions):
        if stage != "RCPT":
            taken = True
        elif taken and answer.code in (452, 552) and answer.enhanced in ("", "4.5.3", "5.5.3"):
            found.add(place)
    return found
