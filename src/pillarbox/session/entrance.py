"""What comes before a protocol's first octet: the PROXY header of a load balancer, and TLS where it is implicit.

The PROXY header is taken from the socket itself, exactly as many octets as it has, so that what follows (a TLS
handshake, or the first command) is still there for whoever comes next. Only connections from the listed networks are
asked for one; from those it must come.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

import structlog

from pillarbox.access.ledger import Field
from pillarbox.smtp.proxy import MAX_V2, ProxyError, parse

from . import tls
from .node import Node
from .peer import Peer, peer_of

log = structlog.get_logger()

PROXY_PATIENCE = 10.0  # seconds for the PROXY header
STANDING = 100  # handshakes of this worker; beyond them who finds no seat is not even told so under TLS
COURTESY = 5.0  # seconds for the handshake of a client that is only to be told
Factory = Callable[[Peer | None], asyncio.Protocol]


def entrance(node: Node, make: Factory, *, implicit_tls: bool = False) -> Callable[[], asyncio.Protocol]:
    """The protocol factory for a listener. `make` builds a session, given its peer when that is already known.

    Looks at the settings for every connection, so a reload of SMTP_PROXY_NETWORKS works.
    """

    def factory() -> asyncio.Protocol:
        if implicit_tls or node.settings.proxy_networks:
            return Entrance(node, make, implicit_tls=implicit_tls)
        return make(None)

    return factory


class Entrance(asyncio.Protocol):
    """One connection on its way to its session.

    A transport reads as soon as it is there, which is too much for a header in front of TLS. So the socket is taken
    from it (a duplicate of its descriptor is the same connection) and goes into another transport after the header.
    """

    def __init__(self, node: Node, make: Factory, *, implicit_tls: bool) -> None:
        self._node = node
        self._make = make
        self._implicit_tls = implicit_tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = peer_of(transport)
        sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        sock.setblocking(False)
        cast(asyncio.Transport, transport).abort()
        task = asyncio.get_running_loop().create_task(self._enter(sock, peer))
        _entering.add(task)
        task.add_done_callback(_entering.discard)

    async def _enter(self, sock: socket.socket, peer: Peer) -> None:
        try:
            if behind_proxy(peer.address, self._node):
                async with asyncio.timeout(PROXY_PATIENCE):
                    peer = await _proxied(sock, peer)
            await self._hand_over(sock, peer)
        except (ProxyError, OSError) as error:  # TimeoutError is one
            log.info("Connection refused: %s", error or "no PROXY header in time", peer=str(peer))
            sock.close()

    async def _hand_over(self, sock: socket.socket, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        if not self._implicit_tls:
            await loop.connect_accepted_socket(lambda: self._make(peer), sock)
            return
        context = self._node.tls.context
        if context is None:
            raise OSError("no certificate")
        admission = self._node.limiter.hold(peer.address)
        if not admission and len(_entering) > STANDING:
            self._node.slot.add(Field.CONNECTIONS_TOTAL)
            self._node.slot.add(Field.CONNECTIONS_REFUSED)
            raise OSError(admission.value)
        threshold = _Threshold(self._node, self._make, peer, seated=bool(admission))
        try:
            await loop.connect_accepted_socket(
                lambda: threshold,
                sock,
                ssl=context,
                ssl_handshake_timeout=tls.HANDSHAKE if admission else COURTESY,
                ssl_shutdown_timeout=tls.GOODBYE,
            )
        except OSError:
            self._node.slot.add(Field.TLS_FAILURES)
            raise
        finally:
            threshold.leave()
        self._node.slot.add(Field.TLS_HANDSHAKES)


class _Threshold(asyncio.Protocol):
    """Has the seat of a client during its TLS handshake, so that those who never finish one count as connections, and
    gives it up to the session, which takes its own."""

    def __init__(self, node: Node, make: Factory, peer: Peer, *, seated: bool) -> None:
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


_entering: set[asyncio.Task[None]] = set()


def entering() -> int:
    """Connections of this process that were accepted and have no session yet: a PROXY header or TLS comes first."""
    return len(_entering)


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

    loop.add_reader(sock.fileno(), readable)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())
