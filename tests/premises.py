"""A node with a real store in the process of the test, and listeners on loopback: what houses of protocols share."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from argon2 import PasswordHasher

from pillarbox.access.ledger import Ledger
from pillarbox.access.limits import Caps, Limiter
from pillarbox.access.passwords import HashGate
from pillarbox.config import Settings
from pillarbox.session.acceptor import Acceptor
from pillarbox.session.entrance import entrance
from pillarbox.session.node import Node
from pillarbox.session.tls import TlsHolder
from pillarbox.store import directory
from pillarbox.store.opening import open_store
from waiting import until

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def at_once(seconds: float) -> None:
    """A login that fails takes no time here; who tests how long it takes puts a clock of their own in."""


class Premises:
    """`clients` and `servers` are closed at the end, `others` are nodes on the same database."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.servers: list[Any] = []
        self.clients: list[Any] = []
        self.others: list[Node] = []

    def open_port(self, node: Node, session: Callable[[Any], Any], *, implicit_tls: bool = False) -> int:
        """A port of loopback where `session` makes one for each peer."""
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.servers += [Acceptor(listening, entrance(node, session, implicit_tls=implicit_tls)), listening]
        port: int = listening.getsockname()[1]
        return port

    async def add_user(self, address: str, password: str = "secret", **options: Any) -> Any:
        return await self.node.store.write(directory.create_user, address, address, CHEAP.hash(password), **options)

    async def closed(self) -> None:
        """All sessions have ended."""
        await until(lambda: not any(one.sessions for one in (self.node, *self.others)), "the end of all sessions")


P = TypeVar("P", bound=Premises)


@asynccontextmanager
async def premises(
    make: Callable[[Node], P],
    settings: Settings,
    database: str,
    *,
    caps: Caps,
    tls: TlsHolder,
    users: Sequence[str],
    trust_loopback: bool = False,
) -> AsyncIterator[P]:
    """What `make` gives for a node on `database`; at the end nothing may be left open, and the store is checked."""
    store = await open_store(database)
    slot = Ledger(2).attach(1)
    limiter = Limiter(slot, caps, trust_loopback=trust_loopback)
    node = Node.build(settings, store, slot, limiter, HashGate(), tls=tls)
    node.authenticator._sleep = at_once
    made = make(node)
    for address in users:
        await made.add_user(address)
    try:
        yield made
    finally:
        for client in made.clients:
            client.close()
        for server in made.servers:
            server.close()
        await made.closed()
        assert node.memory.used == 0, "a spool was not closed"
        assert await store.check() == []
        for one in (*made.others, node):
            one.close()
            await one.store.close()
