"""A connection to the first of several addresses that answers: happy eyeballs (RFC 8305)."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections import deque
from collections.abc import Sequence

from pillarbox.access import limits

from .outgoing_connection import described
from .outgoing_timeouts import Timeouts


class NotConnected(Exception):
    """No address answered; `failures` are pairs of an address and why."""

    def __init__(self, failures: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{address}: {why}" for address, why in failures))
        self.failures = tuple(failures)


def interleaved(addresses: Sequence[str]) -> list[str]:
    """The two families in turns, IPv6 first (RFC 8305 section 4), each in its order."""
    families: tuple[list[str], list[str]] = ([], [])
    for address in addresses:
        families[0 if ":" in address else 1].append(address)
    pairs = itertools.zip_longest(*families)
    return [address for pair in pairs for address in pair if address is not None]


def is_loopback(address: str) -> bool:
    """An address of this machine that no wire carries; so is the path of a socket."""
    return address.startswith("/") or limits.is_loopback(address)


async def first_connected(
    addresses: Sequence[str], port: int, timeouts: Timeouts, sources: Sequence[str] = ()
) -> tuple[str, socket.socket]:
    """The address that answered first, and its socket. The next one is tried when the one before has failed, or has not
    answered for `timeouts.stagger`. `sources` are our own addresses, at most one a family. Raises NotConnected."""
    waiting, failures = deque(addresses), []
    attempts: dict[asyncio.Task[socket.socket], str] = {}
    won: tuple[str, socket.socket] | None = None
    try:
        while won is None and (waiting or attempts):
            if waiting:
                address = waiting.popleft()
                attempts[asyncio.create_task(_attempt(address, port, timeouts.connect, sources))] = address
            done, _ = await asyncio.wait(
                attempts, timeout=timeouts.stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                address = attempts.pop(task)
                error = task.exception()
                if error is not None:
                    failures.append((address, described(error)))
                elif won is None:
                    won = address, task.result()
                else:
                    task.result().close()
    except BaseException:
        if won is not None:
            won[1].close()
        raise
    finally:
        for task in attempts:
            task.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()
    if won is None:
        raise NotConnected(failures)
    return won


async def local_connected(path: str, timeouts: Timeouts) -> socket.socket:
    """A socket connected to a Unix socket. Raises NotConnected."""
    try:
        return await _connect(socket.AF_UNIX, path, "", timeouts.connect)
    except (OSError, ValueError) as error:
        raise NotConnected([(path, described(error))]) from None


async def _attempt(address: str, port: int, patience: float, sources: Sequence[str]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    source = next((source for source in sources if (":" in source) == (":" in address)), "")
    return await _connect(family, (address, port), source, patience)


async def _connect(family: int, target: tuple[str, int] | str, source: str, patience: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            try:
                sock.bind((source, 0))
            except OSError as error:
                raise OSError(error.errno, f"cannot send from {source}: {error.strerror}") from None
        try:
            async with asyncio.timeout(patience):
                await asyncio.get_running_loop().sock_connect(sock, target)
        except OSError as error:
            if error.errno is None:  # the time is over
                raise
            # The loop's own text, "Connect call failed (...)", has the address and not what was wrong with it.
            raise OSError(error.errno, os.strerror(error.errno)) from None
    except BaseException:
        sock.close()
        raise
    return sock
