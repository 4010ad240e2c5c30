"""What comes before a protocol's first octet: the PROXY header of a load balancer, and TLS where it is implicit.

The PROXY header is taken from the socket itself, exactly as many octets as it has, so that what follows (a TLS
handshake, or the first command) is still there for whoever comes next. Only connections from the listed networks are
asked for one; from those it must come.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

import structlog

from pillarbox.access.ledger import Field
from pillarbox.smtp.proxy import MAX_V2, ProxyError, parse

from . import tls
from .begin import begin
from .node import Node
from .peer import Peer, peer_of_socket

log = structlog.get_logger()

PROXY_PATIENCE = 10.0  # seconds for the PROXY header
STANDING = 100  # handshakes of this worker; beyond them who finds no seat is not even told so under TLS
COURTESY = 5.0  # seconds for the handshake of a client that is only to be told
Make = Callable[[Peer], asyncio.Protocol]
Welcome = Callable[[socket.socket], None]


def entrance(node: Node, make: Make, *, implicit_tls: bool = False, local: bool = False) -> Welcome:
    """What a listener does with each connection. `make` builds a session, given its peer.

    Looks at the settings for every connection, so a reload of SMTP_PROXY_NETWORKS works; a `local` listener has no
    load balancer in front of it.
    """

    def welcome(sock: socket.socket) -> None:
        try:
            peer = peer_of_socket(sock)
        except OSError as error:  # it has gone: what it sent could still be read, but not who it was
            _refuse(sock, error, None)
            return
        proxied = not local and behind_proxy(peer.address, node)
        work = _enter(node, make, sock, peer, implicit_tls=implicit_tls, proxied=proxied)
        rest = work if proxied else begin(work)  # the time for a header needs a task
        if rest is not None:
            task = asyncio.get_running_loop().create_task(rest)
            _entering.add(task)
            task.add_done_callback(_entering.discard)

    return welcome


async def _enter(node: Node, make: Make, sock: socket.socket, peer: Peer, *, implicit_tls: bool, proxied: bool) -> None:
    """No transport is made before the header was read, since it would read what is for TLS too."""
    try:
        if proxied:
            try:
                async with asyncio.timeout(PROXY_PATIENCE):
                    peer = await _proxied(sock, peer)
            except _TurnedAway:
                if implicit_tls:
                    raise
        if implicit_tls:
            await _under_tls(node, make, sock, peer)
        else:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: make(peer), sock)
    except (ProxyError, OSError) as error:  # TimeoutError is one
        _refuse(sock, error, peer)
    except asyncio.CancelledError:
        _refuse(sock, OSError("the server stops, and TLS was not there yet"), peer)


def _refuse(sock: socket.socket, error: Exception, peer: Peer | None) -> None:
    log.info("Connection refused: %s", error or "no PROXY header in time", peer=str(peer or "gone"))
    sock.close()


async def _under_tls(node: Node, make: Make, sock: socket.socket, peer: Peer) -> None:
    context = node.tls.context
    if context is None:
        raise OSError("no certificate")
    admission = node.limiter.hold(peer.address)
    if not admission and len(_entering) >= STANDING:
        node.slot.add(Field.CONNECTIONS_TOTAL)
        node.slot.add(Field.CONNECTIONS_REFUSED)
        raise OSError(admission.value)
    threshold = _Threshold(node, make, peer, seated=bool(admission))
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: threshold,
            sock,
            ssl=context,
            ssl_handshake_timeout=tls.HANDSHAKE if admission else COURTESY,
            ssl_shutdown_timeout=tls.GOODBYE,
        )
    except OSError:
        node.slot.add(Field.TLS_FAILURES)
        raise
    finally:
        threshold.leave()
    node.slot.add(Field.TLS_HANDSHAKES)


class _Threshold(asyncio.Protocol):
    """Has the seat of a client during its TLS handshake, so that those who never finish one count as connections, and
    gives it up to the session, which takes its own."""

    def __init__(self, node: Node, make: Make, peer: Peer, *, seated: bool) -> None:
        self._node = node
        self._make = make
        self._peer = peer
        self._seated = seated

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.leave()
        session = self._make(self._peer)
        transport.set_protocol(session)
        session.connection_made(transport)

    def leave(self) -> None:
        if self._seated:
            self._seated = False
            self._node.limiter.release(self._peer.address)


class _TurnedAway(OSError):
    """The server stops, and its header has not come."""


_entering: set[asyncio.Task[None]] = set()
_unread: dict[asyncio.Task[None] | None, asyncio.Future[None]] = {}  # those that wait for a PROXY header


def entering() -> int:
    """Connections of this process that were accepted and have no session yet: a PROXY header or TLS comes first."""
    return len(_entering)


def turn_away() -> None:
    """Who has not come in by now does not any more. Where no TLS is to come first he is told so, by the session."""
    for task in tuple(_entering):
        ready = _unread.get(task)
        if ready is None:
            task.cancel()
        elif not ready.done():
            ready.set_exception(_TurnedAway("the server stops"))


def behind_proxy(address: str, node: Node) -> bool:
    """Whether a connection from this address must begin with a PROXY header."""
    networks = node.settings.proxy_networks
    if not networks or not address:
        return False
    ip = ip_address(address)
    return any(ip in network for network in networks)


async def _proxied(sock: socket.socket, proxy: Peer) -> Peer:
    """Read the PROXY header off the socket, and no octet more; who the client is. Raises ProxyError and OSError."""
    header = b""
    while True:
        await _readable(sock)
        seen = sock.recv(MAX_V2, socket.MSG_PEEK)
        if not seen:
            raise ProxyError("the connection ended before its PROXY header")
        parsed = parse(header + seen)
        header += sock.recv(len(seen) if parsed is None else parsed.length - len(header))
        if parsed is not None:
            break
    if parsed.source is None:
        return proxy  # the proxy speaks for itself
    local = parsed.destination[0] if parsed.destination is not None else proxy.local
    return Peer(parsed.source[0], parsed.source[1], local, proxied=True)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        if not ready.done():
            ready.set_result(None)

    task = asyncio.current_task()
    loop.add_reader(sock.fileno(), readable)
    _unread[task] = ready
    try:
        await ready
    finally:
        del _unread[task]
        loop.remove_reader(sock.fileno())
