"""An IMAP session: who is logged in, which mailbox is in view, and what is answered to each event of the core.

After every command of a selected mailbox the session looks whether the store has news and tells them, in IDLE as soon
as the watch wakes it. A command is answered after the commit of what it did; nobody else hears of it before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import structlog

from pillarbox.access.authenticate import Identity
from pillarbox.access.exchange import NO_CHANNEL, Exchange, offered
from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.imap.comparator import DEFAULT
from pillarbox.imap.core import ImapCore
from pillarbox.imap.events import (
    AppendEnd,
    AppendStart,
    Authenticate,
    AuthResponse,
    CatenateText,
    CatenateUrl,
    Command,
    Event,
    Idle,
    IdleDone,
    LiteralChunk,
    Logout,
    StartTls,
)
from pillarbox.imap.extensions import Offer
from pillarbox.imap.limits import Limits
from pillarbox.imap.sequence import SequenceSet
from pillarbox.store import Store, mailboxes, messages, rights
from pillarbox.store.errors import Busy, NotFound, StoreError
from pillarbox.store.records import Mailbox

from . import imap_annotations, imap_append, imap_contexts, imap_login, imap_notify
from .compression import Compression
from .connection import LOGIN_PATIENCE, Connection, Lost
from .imap_answers import Answer, Refuse, Work, bad, refusal
from .imap_commands import HANDLERS
from .imap_notify_following import Following
from .imap_notify_own import Numbers, numbered
from .imap_selected import Selected
from .node import Node
from .peer import Peer
from .tls import channel

log = structlog.get_logger()

T = TypeVar("T")

IDLE_PATIENCE = 1800.0  # seconds without a word from the client, in IDLE too (RFC 9051 section 5.4)
SPACING = 0.02  # seconds between two looks at a mailbox that changes all the time, in IDLE
LINES = 2048  # untagged responses between two looks at the transport
NEIGHBOURS = 8  # sessions with the same mailbox that are looked at for a view of it
RETRY = 1.0  # seconds until news that could not be read are tried again

_NO_EXPUNGE = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD"})  # by numbers: RFC 9051 7.5.1


class ImapSession(Connection[ImapCore]):
    """One client's conversation."""

    role = Role.IMAP
    idle_patience = IDLE_PATIENCE

    __slots__ = (
        "_appending",
        "_dirty",
        "_held",
        "_idling",
        "_pushed_at",
        "_timer",
        "channel",
        "comparator",
        "exchange",
        "notify",
        "selected",
        "switch_compression",
    )

    def __init__(self, node: Node, peer: Peer | None = None) -> None:
        super().__init__(node, peer)
        self.selected: Selected | None = None
        self.exchange: Exchange | None = None
        self.channel = NO_CHANNEL  # the TLS of the connection, for SASL
        self.comparator = DEFAULT  # RFC 5255
        self._appending: imap_append.Appending | None = None
        self.switch_compression = False  # after the answer that is being made
        self.notify: Following | None = None  # once the client has used NOTIFY
        self._idling = False
        self._held = False  # news could not be read just now
        self._dirty = False  # the watch says that the mailbox has changed
        self._pushed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # What command handlers use.

    @property
    def store(self) -> Store:
        return self.node.store

    async def write(self, fn: Callable[..., T], *args: Any, size: int = 0, **kw: Any) -> T:
        """Carry out a change that the client asked for, see `Store.write`; NOTIFY knows it as the session's own."""
        store, following = self.node.store, self.notify
        if following is None:
            return await store.write(fn, *args, size=size, **kw)
        accounts = {self.user_id, *following.views}
        if self.selected is not None:
            accounts.add(self.selected.owner_id)
        done: tuple[T, Numbers] = await store.write(numbered, sorted(accounts), fn, args, kw, size=size)
        following.own.note(done[1])
        return done[0]

    @property
    def user_id(self) -> int:
        assert self.identity is not None
        return self.identity.user_id

    @property
    def username(self) -> str:
        assert self.identity is not None
        return self.identity.username

    @property
    def rev2(self) -> bool:
        """IMAP4rev2 is enabled."""
        return "IMAP4REV2" in self.core.enabled

    @property
    def recent_shown(self) -> bool:
        """The client knows \\Recent, which IMAP4rev2 has not."""
        return "IMAP4REV2" not in self.core.enabled

    @property
    def utf8(self) -> bool:
        """Names and quoted strings go out in UTF-8."""
        return self.core.utf8

    @property
    def uid_only(self) -> bool:
        """No message numbers are told (RFC 9586)."""
        return "UIDONLY" in self.core.enabled

    @property
    def condstore(self) -> bool:
        return "CONDSTORE" in self.core.enabled

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.core.enabled

    def condstore_used(self) -> None:
        """A command that turns CONDSTORE on was used, RFC 7162 section 3.1."""
        self.core.enabled.add("CONDSTORE")

    def writable(self, wanted: str = "") -> Selected:
        """The selected mailbox, to be changed with these rights (RFC 4314 section 4). Raises Refuse."""
        assert self.selected is not None
        if self.selected.read_only:
            raise Refuse("The mailbox was opened read-only", "READ-ONLY")
        if not all(right in self.selected.rights for right in wanted):
            raise Refuse("You have not the right to do that in this mailbox", "NOPERM")
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

    def logged_out(self) -> None:
        """UNAUTHENTICATE: as after the greeting, but for TLS."""
        self.deselect()
        self._unfollow()
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
            self.identity = None
        self.exchange = None
        self.comparator = DEFAULT
        self.core.unauthenticated()
        self.deadline = self._loop.time() + LOGIN_PATIENCE
        self.node.deadlines.watch(self)

    def select(self, selected: Selected, *, fresh: bool = False) -> None:
        """This is the mailbox from now on. `fresh`: it was read in this turn of the loop."""
        if self.closed:
            raise Lost
        self.selected = selected
        if self.notify is not None:
            imap_notify.tune(self)
        self._dirty = not fresh  # a commit since the view was read found nobody watching
        self.node.watch.mailbox(selected.mailbox_id, self, self._changed)
        self.core.selected()

    def beside(self, box: Mailbox) -> Selected | None:
        """What another session of this worker has selected, if it is what this row of a mailbox says."""
        for other in islice(self.node.watch.watching(box.id), NEIGHBOURS):
            selected = other.selected if isinstance(other, ImapSession) else None
            if selected is not None and selected.is_at(box):
                return selected
        return None

    def deselect(self) -> None:
        """No mailbox is selected any more."""
        selected, self.selected = self.selected, None
        if selected is not None:
            self.node.watch.leave_mailbox(selected.mailbox_id, self)
            self._claim(selected)
            if (view := selected.let_go()) is not None:
                self.node.views.give(view)
            if not self.core.closed:
                self.core.unselected()

    @property
    def _listening(self) -> bool:
        """News of the selected mailbox are told at once: in IDLE, or because NOTIFY asked for them."""
        if self.selected is None:
            return False
        return self._idling if self.notify is None else bool(self.notify.interest.selected)

    @property
    def _frozen(self) -> bool:
        """NOTIFY wants no news of the selected mailbox (RFC 5465 section 3.1): it stays as the client knows it."""
        return self.notify is not None and not self.notify.interest.selected

    async def look(self, *, thaw: bool = False) -> None:
        """Bring what the session knows of its mailbox up to date. Raises StoreError; NotFound: the mailbox has gone.

        `thaw`: even if the client does not want to hear of it.
        """
        selected, dirty, store = self.selected, self._dirty, self.node.store
        self._dirty = False  # what is told from here on is looked at again
        if selected is None:
            return
        try:
            if not await self._stale(selected, dirty):
                return
            if self._frozen and not thaw:
                self._dirty = self._dirty or dirty
                await self._read_rights(selected)
                return
            changes = await store.read(messages.changes, selected.mailbox_id, selected.highestmodseq, selected.uidnext)
            await self._read_rights(selected)
            if changes.mailbox.uidvalidity != selected.uidvalidity:
                raise NotFound("the mailbox is another one now")  # the database was restored from a copy
            entries = await imap_annotations.news(self, selected)
            if changes.vanished is None:
                selected.reload(await store.read(messages.open_view, selected.mailbox_id))
            else:
                selected.take(changes)
            selected.note_entries(entries)
        except BaseException:
            self._dirty = True
            raise

    async def _read_rights(self, selected: Selected) -> None:
        if selected.own:
            return
        found = await self.node.store.read(rights.of, selected.owner_id, selected.mailbox_id, self.user_id)
        selected.rights = found
        if "r" not in found:
            raise NotFound("the right to read the mailbox was taken away")

    async def _stale(self, selected: Selected, dirty: bool) -> bool:
        """Whether the store has news. A lost hint does not matter: the mailbox's own number tells."""
        if dirty and not selected.own:
            return True  # the rights to it may be others now
        try:
            uidvalidity, modseq, uidnext = self.node.store.peek(mailboxes.moment, selected.mailbox_id)
        except Busy:  # no read without waiting here (PostgreSQL)
            if dirty:
                return True
            uidvalidity, modseq, uidnext = await self.node.store.read(mailboxes.moment, selected.mailbox_id)
        # What this session did itself makes it dirty too, and is known already.
        return modseq != selected.highestmodseq or uidnext > selected.uidnext or uidvalidity != selected.uidvalidity

    async def tell(self, *, expunge: bool) -> None:
        """Send untagged responses for what has been learnt."""
        selected = self.selected
        if selected is None:
            return
        if selected.contexts:
            await imap_contexts.tell_removed(self, selected, expunge=expunge)
        told = selected.tell(
            expunge=expunge,
            vanished=self.qresync or self.uid_only,
            modseq=self.condstore,
            recent=self.recent_shown,
            uid_only=self.uid_only,
        )
        while some := list(islice(told, LINES)):
            self.core.write(b"* %b\r\n" % b"\r\n* ".join(some))
            if len(some) == LINES:
                await self.drained()
        if fresh := selected.take_fresh():
            await imap_notify.fetch_new(self, selected, fresh)
        if selected.contexts:
            await imap_contexts.tell_added(self, selected)

    def _claim(self, selected: Selected) -> None:
        """What came while the mailbox was selected was \\Recent here: it is not for the next session."""
        if selected.read_only or not selected.own or not self.recent_shown or not selected.arrived:
            return
        try:
            claimed = self.node.store.write(messages.claim_recent, selected.mailbox_id)
        except StoreError:
            return  # the store is closed
        claimed.add_done_callback(_unheard)

    # For the connection.

    def make_core(self, *, tls: bool) -> ImapCore:
        limits, offer = self._policy()
        return ImapCore(self.node.settings.hostname, tls=tls, limits=limits, offer=offer)

    async def start_tls(self) -> None:
        await super().start_tls()
        self.core.offer = self._policy()[1]

    def _policy(self) -> tuple[Limits, Offer]:
        self.channel = channel(self.transport, self.peer)
        settings = self.node.settings
        limits = settings.max_message_size, settings.imap_save_limit
        return policy(*limits, tls_ready=bool(self.node.tls), auth=offered(self.channel))

    def bye(self, text: str, *, unavailable: bool = False) -> None:
        self.core.bye(text, "UNAVAILABLE" if unavailable else None)

    def has_news(self) -> bool:
        if self._dirty and self._listening:
            return True
        return self.notify is not None and self.notify.waiting and not self._held

    async def push(self) -> None:
        """Tell the client in IDLE, or by NOTIFY, what has happened, at once."""
        self._pushed_at = self._loop.time()
        following = self.notify
        try:
            if self._dirty and self._listening:
                await self.look()
                await self.tell(expunge=self._idling or self._any_time)
        except NotFound:
            self._gone()
        except StoreError as error:
            self._dirty = False  # the next change, or the end of IDLE, looks again
            log.warning("News of a mailbox could not be read", error=str(error))
        if following is not None and following.waiting:
            try:
                await imap_notify.push(self, following)
            except StoreError as error:
                self._held = True
                self._loop.call_later(RETRY, self._retry)
                log.warning("News of mailboxes could not be told", error=str(error))
        self.flush()

    @property
    def _any_time(self) -> bool:
        """The client wants to be told of expunges at any time (RFC 5465 section 6.1.1)."""
        return self._listening and self.notify is not None and not self.notify.interest.delayed

    def _retry(self) -> None:
        self._held = False
        self.wake()

    def in_transfer(self) -> bool:
        return self._appending is not None

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._appending is not None:
            self._appending.close()
            self._appending = None
        self._unfollow()
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
            self.identity = None
        self.deselect()

    def _unfollow(self) -> None:
        following, self.notify = self.notify, None
        if following is not None:
            following.end()

    def _changed(self) -> None:
        """The watch: a commit has touched the mailbox."""
        self._dirty = True
        self.wake()

    def wake(self) -> None:
        """There may be news for the client: tell them now, or when what is under way has ended."""
        if self.closed or self.busy or self._timer is not None or not self.has_news():
            return
        wait = self._pushed_at + SPACING - self._loop.time()
        if wait <= 0:
            self.work()
        else:
            self._timer = self._loop.call_later(wait, self._push_now)

    def _push_now(self) -> None:
        self._timer = None
        if not self.busy and not self.closed:
            self.work()

    def _gone(self) -> None:
        """The mailbox was deleted by somebody else, or is another one since a restore."""
        self._goodbye = "The selected mailbox has gone"
        self._idling = self._dirty = False

    # Events.

    async def answer(self, event: Event) -> None:
        match event:
            case Command():
                self.node.slot.add(Field.IMAP_COMMANDS)
                await self._command(event)
            case LiteralChunk():
                if self._appending is not None:
                    await imap_append.chunk(self._appending, event)
            case AppendStart(tag) | CatenateUrl(tag) | CatenateText(tag):
                await self._append(tag, event)
            case AppendEnd(tag):
                appending, self._appending = self._appending, None
                assert appending is not None
                answer = await self._outcome(imap_append.end(self, appending, event))
                await self._finish(tag, answer, expunge=True)
            case Idle():
                self.core.continuation("idling")
                self._idling = True
                self._dirty = self.selected is not None  # tells what waits, and what no hint has told
            case IdleDone(tag, fault):
                self._idling = False
                await self._finish(tag, Answer("IDLE ended") if fault is None else bad(fault).answer, expunge=True)
            case Authenticate(tag) | AuthResponse(tag):
                await self._authenticate(tag, event)
            case StartTls():
                await self.start_tls()
            case Logout():
                self.deselect()
                self.core.logout()

    async def _command(self, command: Command) -> None:
        shared = self._dirty and self.selected is not None and not self.selected.own
        work = self._permitted(command) if shared else HANDLERS[command.name](self, command)
        expunge = command.uid or command.name not in _NO_EXPUNGE
        answer = await self._outcome(work)
        await self._finish(command.tag, answer, expunge=expunge)
        if self.switch_compression:
            self._switch()

    async def _permitted(self, command: Command) -> Answer:
        """Carry it out by the rights to the selected mailbox as they are now. What else is new is told at the end:
        until then numbers are those that the client knows."""
        selected = self.selected
        assert selected is not None
        try:
            await self._read_rights(selected)
        except NotFound:
            self._gone()
            raise Refuse("The mailbox is not shared with you any more", "NOPERM") from None
        return await HANDLERS[command.name](self, command)

    def _switch(self) -> None:
        """From here on what is said is compressed, or is not any more."""
        self.flush()
        self.switch_compression = False
        if self.compression is None:
            self.compression = Compression()
            self.compression.hold(self.core.take_buffered())
        else:
            self.compression = None

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
        if self.selected is not None and answer.status != "BAD" and (self._dirty or not answer.fresh):
            try:
                if not answer.current:
                    await self.look(thaw=answer.expunged)
                await self.tell(expunge=expunge or self._any_time)
            except NotFound:
                self._gone()
            except StoreError as error:
                log.warning("News of a mailbox could not be read", error=str(error))
            if answer.expunged and self.qresync and self.selected is not None:
                code = f"HIGHESTMODSEQ {self.selected.highestmodseq}"
        self.core.tagged(tag, answer.status, answer.text, code)

    async def _append(self, tag: bytes, event: AppendStart | CatenateUrl | CatenateText) -> None:
        """A message, or a part of one, is announced. A refusal ends the command, and nothing of it is kept."""
        answer: Answer
        try:
            appending = self._appending
            if appending is None:
                assert isinstance(event, AppendStart)
                self._appending = await imap_append.begin(self, event)
            elif isinstance(event, AppendStart):
                await imap_append.another(self, appending, event)
            else:
                await imap_append.part(self, appending, event)
            return
        except Refuse as refused:
            answer = refused.answer
        except StoreError as error:
            answer = refusal(error).answer
        if self._appending is not None:
            self._appending.close()
            self._appending = None
        await self._finish(tag, answer, expunge=True)

    async def _authenticate(self, tag: bytes, event: Authenticate | AuthResponse) -> None:
        try:
            answer = await imap_login.authenticate(self, event)
        except Refuse as refused:
            answer = refused.answer
        if answer is not None:
            await self._finish(tag, answer, expunge=True)


def _unheard(done: asyncio.Future[int]) -> None:
    if not done.cancelled() and not isinstance(error := done.exception(), NotFound | None):
        log.info("Recent messages could not be claimed", error=str(error))


@lru_cache(maxsize=16)
def policy(max_message_size: int, save_limit: int, *, tls_ready: bool, auth: tuple[str, ...]) -> tuple[Limits, Offer]:
    """Limits and offer of a connection, `auth` its mechanisms. Passwords go over TLS only."""
    return Limits(append=max_message_size, save=save_limit), Offer(starttls=tls_ready, auth=auth)
