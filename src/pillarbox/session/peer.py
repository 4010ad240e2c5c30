"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple


class Peer(NamedTuple):
    """Address and port of the client, and the address of ours that it reached. All empty on a unix socket.

    `proxied`: a proxy's header says so, and the client's TLS may have ended there."""

    address: str
    port: int
    local: str
    proxied: bool = False

    def __str__(self) -> str:
        """As log lines have it: 192.0.2.1:50000, [2001:db8::1]:50000, or "local"."""
        if not self.address:
            return "local"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """The peer of a transport. An IPv4 client of an IPv6 socket appears as what it is."""
    remote = transport.get_extra_info("peername")
    local = transport.get_extra_info("sockname")
    if not isinstance(remote, tuple):
        return Peer("", 0, "")
    return Peer(plain(remote[0]), remote[1], plain(local[0]) if isinstance(local, tuple) else "")


def peer_of_socket(sock: socket.socket) -> Peer:
    """The same of a connected socket. Raises OSError when the client has gone."""
    remote, local = sock.getpeername(), sock.getsockname()
    return Peer(plain(remote[0]), remote[1], plain(local[0])) if isinstance(remote, tuple) else Peer("", 0, "")


def plain(address: str) -> str:
    """Without the zone and the ::ffff: of an IPv4-mapped address (RFC 4291 section 2.5.5.2)."""
    address = address.partition("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address
