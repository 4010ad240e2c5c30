"""A POP3 session: who is logged in, the maildrop, and what is answered to each event of the core.

The maildrop is the account's INBOX as it was at the login. Messages marked by DELE go at QUIT, in one commit before the
answer; a session that ends in any other way removes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import structlog

from pillarbox.access import sasl
from pillarbox.access.authenticate import Identity, TemporaryFailure
from pillarbox.access.exchange import NO_CHANNEL, Exchange, offered
from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.flow.owner import alive
from pillarbox.pop3.commands import Auth, AuthResponse, Command, Event, Login, Quit, Reply, StartTls
from pillarbox.pop3.core import Pop3Core
from pillarbox.store import blobs, leases, messages
from pillarbox.store.errors import NotFound, StoreError

from .connection import Connection, Lost
from .pop3_maildrop import Maildrop, open_inbox, update
from .tls import channel

if TYPE_CHECKING:
    import asyncio

    from .node import Node
    from .peer import Peer

log = structlog.get_logger()

IDLE_PATIENCE = 600.0  # seconds; at least ten minutes, RFC 1939 section 3
LEASE = 120  # seconds that an exclusive maildrop stays locked when its server has died
RENEW = 40.0  # seconds
FAILURES = 3  # logins of one connection; the last one closes it
PIECE = 256 * 1024  # octets of a message that are held at once
LINES = 1000  # lines of a listing in one piece

_TEMPORARY = Reply(False, "passwords cannot be checked now, try again later", "SYS/TEMP")
_GONE = Reply(False, "that message is gone", "SYS/PERM")
_serial = itertools.count()


class Pop3Session(Connection[Pop3Core]):
    """One client's conversation."""

    __slots__ = ("_exchange", "_failures", "_lease", "_maildrop", "_renewal", "channel")

    role = Role.POP3
    idle_patience = IDLE_PATIENCE

    def __init__(self, node: Node, peer: Peer | None = None) -> None:
        super().__init__(node, peer)
        self._maildrop: Maildrop | None = None
        self._exchange: Exchange | None = None
        self.channel = NO_CHANNEL  # the TLS of the connection, for SASL
        self._failures = 0
        self._lease: tuple[str, str] | None = None  # name and holder, when the maildrop is ours alone
        self._renewal: asyncio.TimerHandle | None = None

    # For the connection.

    def make_core(self, *, tls: bool) -> Pop3Core:
        node = self.node
        return Pop3Core(node.settings.hostname, tls=tls, starttls=bool(node.tls), mechanisms=self._mechanisms())

    def _mechanisms(self) -> tuple[str, ...]:
        self.channel = channel(self.transport, self.peer)
        return offered(self.channel)

    async def start_tls(self) -> None:
        await super().start_tls()
        self.core.mechanisms = self._mechanisms()

    def bye(self, text: str, *, unavailable: bool = False) -> None:
        self.core.close(text, "SYS/TEMP" if unavailable else "")

    def in_transfer(self) -> bool:
        return False

    def forget(self) -> None:
        if self.identity is not None:
            self.node.logins.remove(self.identity, self)
            self.identity = None
        self._maildrop = None
        self._unlock()

    # Events.

    async def answer(self, event: Event) -> None:
        try:
            await self._answer(event)
        except NotFound:
            self.core.reply(_GONE)
        except StoreError as error:
            log.error("The store cannot answer", error=repr(error), peer=str(self.peer))
            self.node.slot.add(Field.ERRORS)
            self.core.reply(Reply(False, "try again later", "SYS/TEMP"))  # RFC 3206 section 4

    async def _answer(self, event: Event) -> None:
        match event:
            case Command(verb, args):
                await self._command(verb, args)
            case Login(username, password):
                await self._check(username, password)
            case Auth(mechanism, initial):
                self._exchange = Exchange(
                    self.node.authenticator,
                    mechanism,
                    self.core.mechanisms,
                    self.channel,
                    peer=self.peer.address,
                    protocol="pop3",
                )
                await self._step(initial)
            case AuthResponse(None):
                self._exchange = None
                self.core.reply(Reply(False, "the exchange was cancelled, or that was no base64"))
            case AuthResponse(data):
                await self._step(data)
            case StartTls():
                await self.start_tls()
            case Quit(update=True):
                await self._update()
            case Quit():
                self.core.reply(Reply(True, "goodbye"))

    # Logging in.

    async def _step(self, response: bytes | None) -> None:
        assert self._exchange is not None
        try:
            outcome = await self._exchange.step(response)
        except TemporaryFailure:
            self.core.reply(_TEMPORARY)
            return
        if isinstance(outcome, sasl.Challenge):
            self.core.challenge(outcome.data)
        elif isinstance(outcome, Identity):
            await self._open(outcome)
        else:
            self._refuse(outcome.reason)

    async def _check(self, username: str, password: str) -> None:
        try:
            identity = await self.node.authenticator.check(username, password, self.peer.address, "pop3")
        except TemporaryFailure:
            self.core.reply(_TEMPORARY)
            return
        if identity is None:
            self._refuse("wrong name or password")
        else:
            await self._open(identity)

    def _refuse(self, text: str) -> None:
        self._failures += 1
        self.core.reply(Reply(False, text, "AUTH"))  # RFC 3206 section 5
        if self._failures >= FAILURES:
            self.core.close("too many failed logins")

    async def _open(self, identity: Identity) -> None:
        if self.node.settings.pop3_exclusive and not await self._lock(identity):
            self.core.reply(Reply(False, "the maildrop is open in another session", "IN-USE"))  # RFC 2449 section 8.1.1
            return
        try:
            self._maildrop = Maildrop(await self.node.store.read(open_inbox, identity.user_id))
        except BaseException:
            self._unlock()
            raise
        if self.closed:
            self._unlock()
            raise Lost
        self.identity = identity
        self.deadline = self._loop.time() + IDLE_PATIENCE
        self.node.logins.add(identity, self)
        self.core.logged_in(f"{self._maildrop.count()} messages ({self._maildrop.octets()} octets)")

    # An exclusive maildrop (RFC 1939 section 4).

    async def _lock(self, identity: Identity) -> bool:
        # The serial number follows the process's own name, which `alive` reads up to the slash.
        lease = f"pop3:{identity.user_id}", f"{self.node.owner}/pop3-{next(_serial)}"
        if not await self.node.store.write(leases.acquire, *lease, LEASE, alive):
            return False
        self._lease = lease
        self._renewal = self._loop.call_later(RENEW, self._renew)
        return True

    def _renew(self) -> None:
        if self._lease is not None:
            self.node.store.write(leases.acquire, *self._lease, LEASE).add_done_callback(_told)
            self._renewal = self._loop.call_later(RENEW, self._renew)

    def _unlock(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                self.node.store.write(leases.release, *lease).add_done_callback(_told)
            except StoreError:
                return  # the store is closed: the lease ends by itself

    # The maildrop.

    async def _command(self, verb: str, args: tuple[int, ...]) -> None:
        maildrop = self._maildrop
        assert maildrop is not None
        if args and args[0] not in maildrop:
            self.core.reply(Reply(False, "there is no message of that number"))
            return
        match verb:
            case "STAT":
                self.core.reply(Reply(True, f"{maildrop.count()} {maildrop.octets()}"))
            case "LIST":
                await self._list(maildrop, args, maildrop.size)
            case "UIDL":
                await self._list(maildrop, args, maildrop.unique_id)
            case "RETR":
                await self._send(args[0], None)
                maildrop.fetched(args[0])
            case "TOP":
                await self._send(*args)
            case "DELE":
                maildrop.delete(args[0])
                self.core.reply(Reply(True, f"message {args[0]} deleted"))
            case "RSET":
                maildrop.reset()
                self.core.reply(Reply(True, f"{maildrop.count()} messages ({maildrop.octets()} octets)"))
            case _:
                self.core.reply(Reply(True))

    async def _list(self, maildrop: Maildrop, args: tuple[int, ...], told: object) -> None:
        assert callable(told)
        if args:
            self.core.reply(Reply(True, f"{args[0]} {told(args[0])}"))
            return
        self.core.reply(Reply(True, f"{maildrop.count()} messages", open_end=True))
        numbers = iter(maildrop)
        while lines := [f"{number} {told(number)}\r\n" for number in itertools.islice(numbers, LINES)]:
            self.core.content("".join(lines).encode())
            await self.drained()
        self.core.end_content()

    async def _send(self, number: int, lines: int | None) -> None:
        """RETR, or TOP with so many lines of the body."""
        assert self._maildrop is not None
        found = await self.node.store.read(messages.rendered, [self._maildrop.message_id(number)])
        if not found:
            self.core.reply(_GONE)
            return
        row = found[0]
        self.core.reply(Reply(True, f"{row.size} octets" if lines is None else "top follows", open_end=True))
        try:
            async for piece in self._pieces(row.blob_id, row.prefix, row.size, row.header_size, lines):
                self.core.content(piece)
                await self.drained()
        except StoreError as error:
            # What was promised cannot be sent, and whatever else we said would be taken for the message.
            log.error("A message could not be read to its end", error=repr(error), peer=str(self.peer))
            self.abort()
            raise Lost from error
        self.core.end_content()

    async def _pieces(
        self, blob_id: int, prefix: bytes, size: int, header: int, lines: int | None
    ) -> AsyncIterator[bytes]:
        store, end = self.node.store, size - len(prefix)
        if prefix:
            yield prefix
        left = lines
        for start in range(0, end, PIECE):
            piece = await store.read(blobs.read_slice, blob_id, start, min(PIECE, end - start))
            if left is not None and start + len(piece) > header:
                cut, left = _cut(piece, max(0, header - start), left)
                yield piece[:cut]
                if left == 0:
                    return
            else:
                yield piece

    async def _update(self) -> None:
        """QUIT: what was marked goes, in one commit; the answer comes after it."""
        assert self._maildrop is not None
        changes = self._maildrop.changes
        if changes is not None:
            try:
                await self.node.store.write(update, *changes)
            except StoreError as error:
                log.error("Messages were not removed", error=repr(error), peer=str(self.peer))
                self.core.reply(Reply(False, "some messages were not removed", "SYS/TEMP"))
                return
        self.core.reply(Reply(True, "goodbye"))


def _cut(piece: bytes, start: int, lines: int) -> tuple[int, int]:
    """Where `lines` lines from `start` on end in the piece, and how many are still to come."""
    at = start
    while lines:
        found = piece.find(b"\n", at)
        if found < 0:
            return len(piece), lines
        at = found + 1
        lines -= 1
    return at, 0


def _told(done: asyncio.Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("The lock of a maildrop was not written", error=str(error))
