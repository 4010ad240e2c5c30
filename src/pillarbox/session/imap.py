"""An IMAP connection: drives the core on a transport, with deadlines, TLS, flow control, and the mailbox in view.

What arrives goes to the core; a task answers its events one after the other and ends when there is none, so an idle
connection has no task. What is written waits for the client to take it. After every command of a selected mailbox the
session looks whether the store has news and tells them; in IDLE it does so when the watch wakes it.
"""

from __future__ import annotations

import asyncio
import random
from functools import lru_cache
from typing import cast

import structlog

from pillarbox.access import sasl
from pillarbox.access.authenticate import Identity
from pillarbox.access.ledger import Field
from pillarbox.access.limits import Admission, Role
from pillarbox.imap.core import ImapCore, Limits
from pillarbox.imap.events import (
    AppendEnd,
    AppendStart,
    Authenticate,
    AuthResponse,
    Command,
    Event,
    Idle,
    IdleDone,
    LiteralChunk,
    Logout,
    StartTls,
)
from pillarbox.imap.extensions import Offer
from pillarbox.imap.sequence import SequenceSet
from pillarbox.store import Store, mailboxes, messages
from pillarbox.store.errors import Busy, NotFound, StoreError

from . import imap_append, imap_login, tls
from .imap_answers import Answer, Refuse, Work, bad, refusal
from .imap_commands import HANDLERS
from .imap_selected import Selected
from .node import Node
from .peer import Peer, peer_of

log = structlog.get_logger()

LOGIN_PATIENCE = 60.0  # seconds from the connection to the login
IDLE_PATIENCE = 1800.0  # seconds without a word from the client, in IDLE too (RFC 9051 section 5.4)
STALLED = 300.0  # seconds that a client may leave our output untaken
WORKING = 60.0  # seconds until a connection that works for its client is looked at again
SPACING = 0.02  # seconds between two looks at a mailbox that changes all the time, in IDLE
LEAVING = 120.0  # seconds within which idle connections are asked to leave, one after the other
UNREAD = 128 * 1024  # octets that may arrive while a command is answered; then reading pauses
TURN = 64  # commands answered in a row before others have their turn
LINES = 512  # untagged responses between two looks at the transport

_NO_EXPUNGE = frozenset({"FETCH", "STORE", "SEARCH"})  # by message numbers: RFC 9051 section 7.5.1


class Lost(Exception):
    """The connection has gone; nobody waits for the answer."""


class ImapSession(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_admitted",
        "_appending",
        "_busy",
        "_dirty",
        "_drained",
        "_early",
        "_ended",
        "_goodbye",
        "_idling",
        "_loop",
        "_paused",
        "_peer_known",
        "_pushed_at",
        "_timer",
        "closed",
        "core",
        "deadline",
        "identity",
        "mechanism",
        "node",
        "peer",
        "selected",
        "transport",
        "turn",
    )

    def __init__(self, node: Node, peer: Peer | None = None) -> None:
        """`peer`: who it really is, when a proxy said so; else the transport tells."""
        self.node = node
        self.peer = peer or Peer("", 0, "")
        self.core: ImapCore
        self.transport: asyncio.Transport
        self.identity: Identity | None = None
        self.selected: Selected | None = None
        self.mechanism: sasl.Mechanism | None = None
        self.closed = False  # the transport has gone
        self.deadline = float("inf")
        self.turn = -1
        self._loop = asyncio.get_running_loop()
        self._peer_known = peer is not None
        self._admitted = False
        self._busy: asyncio.Task[None] | None = None  # answers events
        self._drained: asyncio.Future[None] | None = None  # done when the client has taken what was written
        self._paused = False  # reading
        self._ended = False  # the client sends no more
        self._early: list[bytes] | None = None  # what TLS brings before the upgrade has returned
        self._appending: imap_append.Appending | None = None
        self._idling: bytes | None = None  # the tag of the IDLE
        self._dirty = False  # the watch says that the mailbox has changed
        self._pushed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: str | None = None  # BYE is to be said as soon as nothing is under way

    # What command handlers use.

    @property
    def store(self) -> Store:
        return self.node.store

    @property
    def user_id(self) -> int:
        assert self.identity is not None
        return self.identity.user_id

    @property
    def rev2(self) -> bool:
        """IMAP4rev2 is enabled."""
        return self.core.utf8

    @property
    def recent_shown(self) -> bool:
        """The client knows \\Recent, which IMAP4rev2 has not."""
        return not self.core.utf8

    @property
    def condstore(self) -> bool:
        return "CONDSTORE" in self.core.enabled

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.core.enabled

    def condstore_used(self) -> None:
        """A command that turns CONDSTORE on was used, RFC 7162 section 3.1."""
        self.core.enabled.add("CONDSTORE")

    def writable(self) -> Selected:
        """The selected mailbox, to be changed. Raises Refuse when it was opened by EXAMINE."""
        assert self.selected is not None
        if self.selected.read_only:
            raise Refuse("The mailbox was opened read-only", "READ-ONLY")
        return self.selected

    def pick(self, sequence: SequenceSet, *, uid: bool) -> list[range]:
        """The messages of a set. Raises Refuse (BAD) for message numbers that do not exist (RFC 9051 section 6.4)."""
        selected = self.selected
        assert selected is not None
        if not uid and (sequence.largest() > len(selected) or (sequence.star and not len(selected))):
            raise bad("There is no message of that number")
        return selected.pick(sequence, uid=uid)

    def logged_in(self, identity: Identity) -> None:
        """The password was right."""
        if self.closed:
            raise Lost
        self.identity = identity
        self.deadline = self._loop.time() + IDLE_PATIENCE
        self.core.authenticated()
        self.node.logins.add(identity, self)

    def select(self, selected: Selected) -> None:
        """This is the mailbox from now on."""
        if self.closed:
            raise Lost
        self.selected = selected
        self._dirty = False
        self.node.watch.mailbox(selected.mailbox_id, self, self._changed)
        self.core.selected()

    def deselect(self) -> None:
        """No mailbox is selected any more."""
        selected, self.selected = self.selected, None
        if selected is not None:
            self.node.watch.leave_mailbox(selected.mailbox_id, self)
            self._claim(selected)
            if not self.core.closed:
                self.core.unselected()

    async def look(self) -> None:
        """Bring what the session knows of its mailbox up to date. Raises StoreError; NotFound: the mailbox has gone."""
        selected = self.selected
        if selected is None or not self._stale(selected):
            self._dirty = False
            return
        self._dirty = False
        store = self.node.store
        try:
            changes = await store.read(messages.changes, selected.mailbox_id, selected.highestmodseq, selected.uidnext)
            if changes.mailbox.uidvalidity != selected.uidvalidity:
                raise NotFound("the mailbox is another one now")  # the database was restored from a copy
            if changes.vanished is None:
                selected.reload(await store.read(messages.open_view, selected.mailbox_id))
            else:
                selected.take(changes)
        except BaseException:
            self._dirty = True
            raise

    def _stale(self, selected: Selected) -> bool:
        """Whether the store has news. A lost hint does not matter: the mailbox's own number tells."""
        if self._dirty:
            return True
        try:
            box = self.node.store.peek(mailboxes.get, selected.mailbox_id)
        except Busy:
            return False  # no read without waiting here (PostgreSQL): the watch will tell
        return box.highestmodseq != selected.highestmodseq or box.uidvalidity != selected.uidvalidity

    async def tell(self, *, expunge: bool) -> None:
        """Send untagged responses for what has been learnt."""
        selected = self.selected
        if selected is None:
            return
        told = selected.tell(expunge=expunge, vanished=self.qresync, modseq=self.condstore, recent=self.recent_shown)
        for count, response in enumerate(told, 1):
            self.core.untagged(response)
            if count % LINES == 0:
                await self.drained()

    async def drained(self) -> None:
        """Write what is there and wait until the client has taken enough of it. Raises Lost."""
        self._flush()
        while self._drained is not None and not self.closed:
            await self._drained
        self.active()

    def active(self) -> None:
        """Long commands call this now and then: the connection is not idle. Raises Lost when it is not there."""
        if self.closed or self.transport.is_closing():
            raise Lost
        if self.identity is not None:
            self.deadline = self._loop.time() + IDLE_PATIENCE

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        node = self.node
        self.transport = cast(asyncio.Transport, transport)
        if not self._peer_known:
            self.peer = peer_of(transport)
        limits, offer = policy(node.settings.max_message_size, bool(node.tls))
        secured = tls.described(transport) is not None
        self.core = ImapCore(node.settings.hostname, tls=secured, limits=limits, offer=offer)
        if node.draining:
            self._turn_away("The server is going down")
            return
        admission = node.limiter.enter(self.peer.address, Role.IMAP)
        if not admission:
            log.warning("IMAP connection refused: %s", admission.value, peer=str(self.peer))
            server_full = admission is Admission.SERVER_FULL
            self._turn_away("Too many connections" if server_full else "Too many connections from your address")
            return
        self._admitted = True
        node.sessions.add(self)
        self.core.greet()
        self._flush()
        self.deadline = self._loop.time() + LOGIN_PATIENCE
        node.deadlines.watch(self)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            return
        self.core.receive(data)
        if self.identity is not None:
            self.deadline = self._loop.time() + IDLE_PATIENCE
        if self._busy is None:
            self._work()
        elif self.core.buffered > UNREAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        # A client may shut its side down after its last command and still read (not so over TLS).
        return self._busy is not None and not self.core.tls

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.node.deadlines.forget(self)
        self.node.sessions.discard(self)
        if self._admitted:
            self._admitted = False
            self.node.limiter.leave(self.peer.address, Role.IMAP)
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.resume_writing()
        if self._busy is None:  # else what is under way ends first: a commit is not taken back
            self._forget()

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()
            self.deadline = self._loop.time() + STALLED
            self.node.deadlines.watch(self)

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
            if not self.closed:
                self.deadline = self._loop.time() + IDLE_PATIENCE

    # For the worker.

    def leave(self, *, now: bool) -> None:
        """Say BYE and close: after the command that is under way. Without `now` a connection that only waits for its
        client goes at some moment of the next two minutes, so that not all of them come back at once."""
        if self._busy is not None or now:
            self._say_goodbye("The server is going down, please reconnect")
        elif self._goodbye is None and not self.closed:
            self._goodbye = "The server is going down, please reconnect"
            self.deadline = self._loop.time() + random.random() * LEAVING
            self.node.deadlines.watch(self)

    def log_out(self, reason: str) -> None:
        """The account's credentials have changed, see `watch.LoginWatch`."""
        log.info("Session ended: %s", reason, peer=str(self.peer))
        self._say_goodbye("Your credentials have changed, log in again")

    def abort(self) -> None:
        """Close without a word."""
        if not self.closed:
            self.transport.abort()

    def timed_out(self) -> None:
        """The deadline has passed, see `deadlines`."""
        if self.closed:
            return
        if self._drained is not None or self._early is not None:
            self.transport.abort()  # it does not take what we write
        elif self._goodbye is not None or self._busy is None:
            self._say_goodbye(
                self._goodbye or ("You have been idle for too long" if self.identity else "Log in faster")
            )
        elif self.identity is None and self._appending is None:
            self.deadline = self._loop.time() + WORKING  # the password is being checked
            self.node.deadlines.watch(self)
        else:
            self.deadline = self._loop.time() + IDLE_PATIENCE
            self.node.deadlines.watch(self)

    # Inside.

    def _say_goodbye(self, text: str) -> None:
        """BYE, now or when the command that is under way has ended."""
        if self.closed:
            return
        self._goodbye = text
        if self._busy is None and self._appending is None:
            self.core.bye(text)
            self._end()

    def _turn_away(self, text: str) -> None:
        self.core.bye(text, "UNAVAILABLE")
        self._end()

    def _end(self) -> None:
        """Write the last words and close."""
        self._flush()
        self.transport.close()

    def _flush(self) -> None:
        core = self.core
        if core.has_output:
            if self.closed:
                for _ in core.output():
                    pass
                return
            self.transport.writelines(core.output())

    def _forget(self) -> None:
        """Nothing is under way and the connection has gone."""
        if self._appending is not None:
            self._appending.spool.close()
            self._appending = None
        selected, self.selected = self.selected, None
        if selected is not None:
            self.node.watch.leave_mailbox(selected.mailbox_id, self)
            self._claim(selected)

    def _claim(self, selected: Selected) -> None:
        """What came while the mailbox was selected was \\Recent here: it is not for the next session."""
        if selected.read_only or not self.recent_shown or not selected.arrived:
            return
        claimed = self.node.store.write(messages.claim_recent, selected.mailbox_id)
        claimed.add_done_callback(_unheard)

    def _changed(self) -> None:
        """The watch: a commit has touched the mailbox."""
        self._dirty = True
        if self._idling is None or self._busy is not None or self._timer is not None:
            return
        wait = self._pushed_at + SPACING - self._loop.time()
        if wait <= 0:
            self._work()
        else:
            self._timer = self._loop.call_later(wait, self._push_now)

    def _push_now(self) -> None:
        self._timer = None
        if self._busy is None and not self.closed:
            self._work()

    def _work(self) -> None:
        self._busy = self._loop.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """Answer events until there is none."""
        core = self.core
        answered = 0
        try:
            while not self.closed:
                if self._idling is not None and self._dirty:
                    await self._push()
                event = core.next_event()
                if event is None:
                    if self._idling is not None and self._dirty:
                        continue
                    break
                await self._answer(event)
                self._flush()
                if core.closed or (self._goodbye is not None and self._appending is None):
                    break
                answered += 1
                if answered % TURN == 0:
                    await asyncio.sleep(0)
                if self._drained is not None:
                    await self.drained()
                if self._paused and core.buffered <= UNREAD:
                    self._paused = False
                    self.transport.resume_reading()
        except Lost:
            pass
        except Exception:
            log.exception("An IMAP session has failed", peer=str(self.peer))
            self.node.slot.add(Field.ERRORS)
            self._goodbye = "The server made a mistake and has logged it"
        finally:
            self._busy = None
            self._rest()

    def _rest(self) -> None:
        """No event is left to be answered."""
        if self.closed:
            self._forget()
            return
        core = self.core
        if self._goodbye is not None and not core.closed and self._appending is None:
            core.bye(self._goodbye)
        if core.closed:
            self._end()
            return
        self._flush()
        if self._ended:
            self.transport.close()
        elif self._paused:
            self._paused = False
            self.transport.resume_reading()

    async def _push(self) -> None:
        """Tell the client in IDLE what has happened, at once."""
        self._pushed_at = self._loop.time()
        try:
            await self.look()
            await self.tell(expunge=True)
        except NotFound:
            self._goodbye = "The selected mailbox has gone"
            self._idling = None
        except StoreError as error:
            self._dirty = False  # the next change, or the end of IDLE, looks again
            log.warning("News of a mailbox could not be read", error=str(error))
        self._flush()

    async def _answer(self, event: Event) -> None:
        match event:
            case Command():
                self.node.slot.add(Field.IMAP_COMMANDS)
                await self._command(event)
            case LiteralChunk():
                if self._appending is not None:
                    await imap_append.chunk(self._appending, event)
            case AppendStart(tag):
                await self._append(tag, event)
            case AppendEnd(tag):
                appending, self._appending = self._appending, None
                assert appending is not None
                await self._carry_out(tag, imap_append.end(self, appending, event), expunge=True)
            case Idle(tag):
                await self._idle(tag)
            case IdleDone(tag, fault):
                self._idling = None
                await self._finish(tag, Answer("IDLE ended") if fault is None else bad(fault).answer, expunge=True)
            case Authenticate(tag) | AuthResponse(tag):
                await self._authenticate(tag, event)
            case StartTls():
                await self._start_tls()
            case Logout():
                self.deselect()
                self.core.logout()

    async def _command(self, command: Command) -> None:
        expunge = command.uid or command.name not in _NO_EXPUNGE
        await self._carry_out(command.tag, HANDLERS[command.name](self, command), expunge=expunge)

    async def _carry_out(self, tag: bytes, work: Work, *, expunge: bool) -> None:
        await self._finish(tag, await self._outcome(work), expunge=expunge)

    async def _outcome(self, work: Work) -> Answer:
        """How a handler ended, its failures as answers."""
        try:
            return await work
        except Refuse as refused:
            return refused.answer
        except StoreError as error:
            answer = refusal(error).answer
            if answer.code in ("SERVERBUG", "CORRUPTION"):
                log.error("A command could not be carried out", error=repr(error), peer=str(self.peer))
                self.node.slot.add(Field.ERRORS)
            else:
                log.info("A command was refused by the store", error=repr(error), peer=str(self.peer))
            return answer
        except (Lost, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("A command failed", peer=str(self.peer))
            self.node.slot.add(Field.ERRORS)
            return Answer("The server made a mistake and has logged it", "SERVERBUG", "NO")

    async def _finish(self, tag: bytes, answer: Answer, *, expunge: bool) -> None:
        """Tell the news of the mailbox, then how the command ended."""
        code = answer.code
        if self.selected is not None and answer.status != "BAD":
            try:
                await self.look()
                await self.tell(expunge=expunge)
            except NotFound:
                self._goodbye = "The selected mailbox has gone"
            except StoreError as error:
                log.warning("News of a mailbox could not be read", error=str(error))
            if answer.expunged and self.qresync and self.selected is not None:
                code = f"HIGHESTMODSEQ {self.selected.highestmodseq}"
        self.core.tagged(tag, answer.status, answer.text, code)

    async def _append(self, tag: bytes, event: AppendStart) -> None:
        try:
            self._appending = await imap_append.begin(self, event)
        except Refuse as refused:
            await self._finish(tag, refused.answer, expunge=True)
        except StoreError as error:
            await self._finish(tag, refusal(error).answer, expunge=True)

    async def _idle(self, tag: bytes) -> None:
        self.core.continuation("idling")
        self._idling = tag
        self._dirty = self.selected is not None  # tells what waits, and what no hint has told

    async def _authenticate(self, tag: bytes, event: Authenticate | AuthResponse) -> None:
        try:
            answer = await imap_login.authenticate(self, event)
        except Refuse as refused:
            answer = refused.answer
        if answer is not None:
            await self._finish(tag, answer, expunge=True)

    async def _start_tls(self) -> None:
        context = self.node.tls.context
        assert context is not None  # else it was not offered
        self.transport.pause_reading()  # what arrives from here on is the handshake's
        self._early = []
        self._flush()
        try:
            self.transport = await tls.upgrade(self.transport, self, context)
        except OSError as error:
            self.node.slot.add(Field.TLS_FAILURES)
            log.info("TLS handshake failed", peer=str(self.peer), error=str(error))
            raise Lost from error
        self.node.slot.add(Field.TLS_HANDSHAKES)
        self._paused = False
        early, self._early = self._early, None
        self.core.tls_started()
        for data in early:
            self.core.receive(data)


def _unheard(done: asyncio.Future[int]) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.info("Recent messages could not be claimed", error=str(done.exception()))


@lru_cache(maxsize=16)
def policy(max_message_size: int, tls_ready: bool) -> tuple[Limits, Offer]:
    """Limits and offer of a listener. Passwords go over TLS only."""
    return Limits(append=max_message_size), Offer(starttls=tls_ready, auth=tuple(sasl.MECHANISMS))
