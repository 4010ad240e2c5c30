"""The carrier: a connection to the first host of a hop that will talk to us.

Hosts are tried in the order of their MX records, of each its addresses by happy eyeballs. A host that does not connect,
greets with an error, refuses EHLO, or has not the TLS that the hop asks for, is left for the next one. What all of them
say decides: `HopDown`, for now or, when each one refused us for good, for ever.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from msgspec import Struct

from pillarbox.config import Settings
from pillarbox.flow.mail_hosts import MailHost, NoHosts, ourselves
from pillarbox.flow.parcel import Hop, HopDown, Reply, Stage
from pillarbox.smtp.client import ClientCore
from pillarbox.store.store import Store

from .node import Node
from .outgoing_connect import NotConnected, first_connected, interleaved, local_connected
from .outgoing_connection import Connection, shown_address
from .outgoing_hosts import Hosts, hosts_by
from .outgoing_lane import OutgoingLane
from .outgoing_opening import Trouble, converse
from .outgoing_self import Listener, is_ourselves
from .outgoing_timeouts import Timeouts
from .outgoing_tls import ClearHosts, context_for

log = structlog.get_logger()

MAX_ADDRESSES = 10  # conversations that are begun for one lane; somebody's DNS may name thousands
UNREACHABLE = 300.0  # seconds that a host which did not connect is tried after the others
_MOST = 10_000  # of those hosts are remembered
_RANK: tuple[Stage, ...] = ("AUTH", "STARTTLS", "HELLO", "GREETING", "PROTOCOL", "POLICY", "LOST", "TIMEOUT", "CONNECT")


class Manner(Struct, frozen=True):
    """How we go out. `name` is said in EHLO unless the hop has another; `authorities` is a PEM file of certificates
    that are trusted besides the system's; `listeners` are those of this server."""

    name: str
    tls_min_version: str = "1.2"
    authorities: Path | None = None
    timeouts: Timeouts = Timeouts()
    listeners: frozenset[Listener] = frozenset()

    @classmethod
    def of(cls, settings: Settings, listeners: frozenset[Listener] = frozenset()) -> Manner:
        min_version = settings.exchanger_tls_min_version
        return cls(settings.hostname, min_version, settings.delivery_tls_ca, timeouts_of(settings), listeners)


def timeouts_of(settings: Settings) -> Timeouts:
    command = float(settings.delivery_command_timeout_seconds)
    return Timeouts(
        connect=float(settings.delivery_connect_timeout_seconds),
        greeting=command,
        command=command,
        data=float(settings.delivery_data_timeout_seconds),
        block=float(settings.delivery_block_timeout_seconds),
        end=float(settings.delivery_end_timeout_seconds),
    )


class OutgoingCarrier:
    """See `flow.parcel.Carrier`. One a worker."""

    def __init__(
        self, store: Store, hosts: Hosts, manner: Callable[[], Manner], clock: Callable[[], float] = time.time
    ) -> None:
        """`hosts` looks the hosts of a hop up, best first, or raises NoHosts. `manner` is asked at each connection."""
        self._store = store
        self._hosts = hosts
        self._manner = manner
        self._clock = clock
        self._clear = ClearHosts(clock)
        self._unreachable: dict[str, float] = {}

    async def open(self, hop: Hop) -> OutgoingLane:
        return OutgoingLane(hop, await self.connection(hop), self._store, self.connection, self._clock)

    async def connection(self, hop: Hop) -> Connection:
        """A connection that is ready for MAIL. Raises HopDown."""
        manner = self._manner()
        attempt = _Attempt(hop, manner, self._clear)
        try:
            async with asyncio.timeout(manner.timeouts.opening):
                return await self._to_any(hop, attempt)
        except TimeoutError:
            raise HopDown(attempt.worst("TIMEOUT", "4.4.2", f"{hop.name} took too long")) from None

    async def _to_any(self, hop: Hop, attempt: _Attempt) -> Connection:
        if hop.socket:
            connection = await attempt.host("", [hop.socket])
            if connection is not None:
                return connection
            raise HopDown(attempt.worst("CONNECT", "4.4.1", f"nobody at {hop.socket}"))
        try:
            hosts = await self._hosts(hop)
        except NoHosts as none:
            raise _down(none) from None
        waiting = self._reachable_first(hosts)
        while waiting:
            host = waiting.pop(0)
            try:
                connection = await attempt.host(host.name, interleaved(host.addresses))
            except _Ourselves:
                # No better than ourselves are left out (RFC 5321 section 5.1): the better ones are down, and it waits.
                if all(other.preference >= host.preference for other in hosts):
                    if hop.kind == "backup":
                        raise _down(ourselves(hop.domain, backup=True)) from None
                    raise
                waiting = [other for other in waiting if other.preference < host.preference]
                continue
            if connection is not None:
                self._unreachable.pop(host.name, None)
                return connection
            if attempt.unreachable:
                self._note_unreachable(host.name)
        raise HopDown(
            attempt.worst("DNS", "4.4.4", f"no host of {hop.domain or hop.host or hop.name} has an address"),
            permanent=attempt.refused_by_all and hop.by_domain,
        )

    def _reachable_first(self, hosts: Sequence[MailHost]) -> list[MailHost]:
        """In their order, but those that did not answer lately at the end, so that they do not delay each message."""
        now = self._clock()
        return sorted(hosts, key=lambda host: self._unreachable.get(host.name, 0) > now)

    def _note_unreachable(self, name: str) -> None:
        self._unreachable.pop(name, None)
        if len(self._unreachable) >= _MOST:
            del self._unreachable[next(iter(self._unreachable))]
        self._unreachable[name] = self._clock() + UNREACHABLE


def carrier_of(node: Node) -> OutgoingCarrier:
    """The carrier of a worker, by its resolver and its settings of the moment."""
    hosts = hosts_by(node.resolver, lambda: (node.settings.hostname,))
    return OutgoingCarrier(node.store, hosts, lambda: Manner.of(node.settings, node.listeners), node.clock)


class _Ourselves(HopDown):
    """Who answered is this server."""


def _down(none: NoHosts) -> HopDown:
    return HopDown(Reply("DNS", none.code, none.enhanced, none.text), none.permanent)


class _Attempt:
    """One search for a host that talks to us: what went wrong on the way."""

    def __init__(self, hop: Hop, manner: Manner, clear: ClearHosts) -> None:
        self._hop = hop
        self._manner = manner
        self._clear = clear
        self._replies: list[Reply] = []
        self._left = MAX_ADDRESSES
        self.unreachable = False  # no address of the last host could be connected to

    @property
    def refused_by_all(self) -> bool:
        """Every host was asked, and every one said for good that it does not take our mail (RFC 5321 section 3.1,
        RFC 7504): waiting changes nothing."""
        said = [reply.stage in ("GREETING", "HELLO") and reply.code // 100 == 5 for reply in self._replies]
        return bool(said) and all(said) and self._left > 0

    def worst(self, stage: Stage, enhanced: str, text: str) -> Reply:
        """Of all that went wrong what says most: words of a server rather than silence. Without any, this."""
        if not self._replies:
            return Reply(stage, 451, enhanced, text, self._hop.host)
        return min(self._replies, key=lambda reply: _RANK.index(reply.stage) if reply.stage in _RANK else len(_RANK))

    async def host(self, name: str, addresses: list[str]) -> Connection | None:
        """Talk to a host at one of its addresses. None: it will not do. Raises HopDown when no other will either."""
        self.unreachable = False
        timeouts, hop = self._manner.timeouts, self._hop
        sources = [source for source in (hop.source_ipv4, hop.source_ipv6) if source]
        rest = list(addresses)
        while rest and self._left > 0:
            try:
                if hop.socket:
                    ip, sock = rest[0], await local_connected(rest[0], timeouts)
                else:
                    ip, sock = await first_connected(rest, hop.port, timeouts, sources)
            except NotConnected as none:
                self.unreachable = rest == addresses
                where = shown_address(none.failures[-1][0], hop.port)
                text = f"cannot connect to {name or hop.host or where}: {none}"
                self._replies.append(Reply("CONNECT", 451, "4.4.1", text[:1000], name, where))
                return None
            rest.remove(ip)
            self._left -= 1
            connection = await self._conversation(name, ip, sock)
            if connection is not None:
                return connection
        return None

    async def _conversation(self, name: str, ip: str, sock: socket.socket) -> Connection | None:
        key = shown_address(ip, self._hop.port)
        in_clear = self._hop.tls == "may" and key in self._clear
        try:
            return await self._begin(name, ip, sock, in_clear=in_clear)
        except Trouble as trouble:
            if not trouble.clear or in_clear:
                self._note(trouble)
                return None
            log.info("TLS with another server failed: the mail goes in the clear", host=name, reply=trouble.reply.text)
        try:
            _, sock = await first_connected([ip], self._hop.port, self._manner.timeouts, self._sources)
            connection = await self._begin(name, ip, sock, in_clear=True)
            self._clear.add(key)  # so it was the TLS
            return connection
        except NotConnected as none:
            self._replies.append(Reply("CONNECT", 451, "4.4.1", f"cannot connect to {name} again: {none}", name, key))
        except Trouble as trouble:
            self._note(trouble)
        return None

    @property
    def _sources(self) -> list[str]:
        return [source for source in (self._hop.source_ipv4, self._hop.source_ipv6) if source]

    def _note(self, trouble: Trouble) -> None:
        if trouble.ours:
            raise _Ourselves(trouble.reply, permanent=True)
        self._replies.append(trouble.reply)
        if trouble.final:
            raise HopDown(trouble.reply, permanent=trouble.reply.stage == "POLICY" and trouble.reply.code // 100 == 5)

    async def _begin(self, name: str, ip: str, sock: socket.socket, *, in_clear: bool) -> Connection:
        """The conversation up to MAIL. Raises Trouble."""
        hop, manner = self._hop, self._manner
        loop = asyncio.get_running_loop()
        core = ClientCore(hop.ehlo or manner.name, lmtp=hop.kind == "lmtp")
        connection = Connection(core, name or hop.host or ip, ip, hop.port, manner.timeouts)
        if is_ourselves(sock, ip, hop.port, manner.listeners):
            sock.close()
            whose = f"mail for {hop.domain}" if hop.domain else "mail"  # a smarthost's route is nothing to its sender
            text = f"{whose} loops back: {connection.address} is this server itself"
            raise Trouble(connection.said("POLICY", 554, "5.4.6", text), ours=True)
        try:
            context = None
            if not (in_clear or hop.socket or hop.tls == "never"):
                context = await context_for(hop.tls, manner.tls_min_version, manner.authorities)
            if hop.socket:
                await loop.create_unix_connection(lambda: connection, sock=sock)
            else:
                await loop.create_connection(lambda: connection, sock=sock)
        except OSError as error:
            sock.close()
            raise Trouble(connection.said("CONNECT", 451, "4.4.1", f"cannot go on: {error}")) from None
        except BaseException:
            sock.close()
            raise
        try:
            own = {core.name.lower(), manner.name.lower()} - {"localhost"}
            await converse(connection, hop, context, own, loop.time() + manner.timeouts.opening)
        except Trouble as trouble:
            if trouble.clear or connection.core.awaiting:
                connection.abort()
            else:
                await connection.leave()  # RFC 5321 section 3.1: a refused client says QUIT too
            raise
        except BaseException:
            connection.abort()
            raise
        return connection
