"""An IMAP session: who is logged in, which mailbox is in view, what command handlers find there, and when its client
hears of news without having asked.
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
from pillarbox.access.limits import Role
from pillarbox.imap.comparator import DEFAULT
from pillarbox.imap.core import ImapCore
from pillarbox.imap.extensions import Offer
from pillarbox.imap.limits import Limits
from pillarbox.imap.sequence import SequenceSet
from pillarbox.store import Store
from pillarbox.store.errors import Away, NotFound, StoreError
from pillarbox.store.records import Mailbox

from . import imap_append, imap_events, imap_news, imap_notify
from .connection import LOGIN_PATIENCE, Connection, Lost
from .imap_answers import Refuse, bad
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
NEIGHBOURS = 8  # sessions with the same mailbox that are looked at for a view of it
RETRY = 1.0  # seconds until news that could not be read are tried again


class ImapSession(Connection[ImapCore]):
    """One client's conversation."""

    role = Role.IMAP
    idle_patience = IDLE_PATIENCE

    __slots__ = (
        "_held",
        "_pushed_at",
        "_timer",
        "appending",
        "channel",
        "comparator",
        "dirty",
        "exchange",
        "idling",
        "notify",
        "selected",
        "switch_compression",
    )

    # Carried out in files of their own.
    answer = imap_events.answer
    look = imap_news.look
    tell = imap_news.tell

    def __init__(self, node: Node, peer: Peer | None = None) -> None:
        super().__init__(node, peer)
        self.selected: Selected | None = None
        self.exchange: Exchange | None = None
        self.channel = NO_CHANNEL  # the TLS of the connection, for SASL
        self.comparator = DEFAULT  # RFC 5255
        self.appending: imap_append.Appending | None = None
        self.switch_compression = False  # after the answer that is being made
        self.notify: Following | None = None  # once the client has used NOTIFY
        self.idling = False
        self._held = False  # news could not be read just now
        self.dirty = False  # the watch says that the mailbox has changed
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
        self.dirty = not fresh  # a commit since the view was read found nobody watching
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
            imap_news.claim_recent(self, selected)
            if (view := selected.let_go()) is not None:
                self.node.views.give(view)
            if not self.core.closed:
                self.core.unselected()

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
        numbers = settings.max_message_size, settings.imap_save_limit
        offer = Offer(bool(self.node.tls), offered(self.channel), unauthenticate=settings.imap_unauthenticate)
        return policy(*numbers, offer)

    def bye(self, text: str, *, unavailable: bool = False) -> None:
        self.core.bye(text, "UNAVAILABLE" if unavailable else None)

    def in_transfer(self) -> bool:
        return self.appending is not None

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.appending is not None:
            self.appending.close()
            self.appending = None
        self._unfollow()
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
            self.identity = None
        self.deselect()

    def _unfollow(self) -> None:
        following, self.notify = self.notify, None
        if following is not None:
            following.end()

    # News that are told unasked, in IDLE and by NOTIFY.

    @property
    def _listening(self) -> bool:
        """News of the selected mailbox are told at once: in IDLE, or because NOTIFY asked for them."""
        if self.selected is None:
            return False
        return self.idling if self.notify is None else bool(self.notify.interest.selected)

    @property
    def any_time(self) -> bool:
        """The client wants to be told of expunges at any time (RFC 5465 section 6.1.1)."""
        return self._listening and self.notify is not None and not self.notify.interest.delayed

    def _changed(self) -> None:
        """The watch: a commit has touched the mailbox."""
        self.dirty = True
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

    def has_news(self) -> bool:
        if self.dirty and self._listening:
            return True
        return self.notify is not None and self.notify.waiting and not self._held

    async def push(self) -> None:
        """Tell the client in IDLE, or by NOTIFY, what has happened, at once."""
        self._pushed_at = self._loop.time()
        following = self.notify
        try:
            if self.dirty and self._listening:
                await self.look()
                await self.tell(expunge=self.idling or self.any_time)
        except NotFound:
            self.gone()
        except StoreError as error:
            self.dirty = False  # the next change, or the end of IDLE, looks again
            if not isinstance(error, Away):
                log.warning("News of a mailbox could not be read", error=str(error))
        if following is not None and following.waiting:
            try:
                await imap_notify.push(self, following)
            except StoreError as error:
                self._held = True
                self._loop.call_later(RETRY, self._retry)
                if not isinstance(error, Away):
                    log.warning("News of mailboxes could not be told", error=str(error))
        self.flush()

    def _retry(self) -> None:
        self._held = False
        self.wake()

    def gone(self) -> None:
        """The mailbox was deleted by somebody else, or is another one since a restore: the session ends."""
        self._goodbye = "The selected mailbox has gone"
        self.idling = self.dirty = False


@lru_cache(maxsize=16)
def policy(max_message_size: int, save_limit: int, offer: Offer) -> tuple[Limits, Offer]:
    """Limits and offer of a connection: the same objects for all that have the same. Passwords go over TLS only."""
    return Limits(append=max_message_size, save=save_limit), offer
