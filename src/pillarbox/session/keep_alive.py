"""Whether a client that says nothing is still there: the kernel asks it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

ASKED = 240  # seconds of silence after which it asks
_OPTIONS = ((socket.TCP_KEEPIDLE, ASKED), (socket.TCP_KEEPINTVL, 60), (socket.TCP_KEEPCNT, 5))


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Address translators forget connections that say nothing (RFC 5382 section 5 lets them, after two hours and often
    after minutes), and clients that vanished free their seat."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # it has gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _OPTIONS:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
