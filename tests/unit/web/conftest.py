"""Both HTTP interfaces on loopback, over a real ledger and a store that answers as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pillarbox.access.ledger import Ledger, Slot
from pillarbox.config import Settings
from pillarbox.store import Busy
from pillarbox.store.records import QueueCounts, QueueRow
from pillarbox.web.checks import Checks, database
from pillarbox.web.figures import Figures
from pillarbox.web.interfaces import api_interface, health_interface
from pillarbox.web.serve import HttpServer


class Rows:
    """What store functions see: a queue with two entries."""

    queue = (
        QueueRow(1, "a@x.test", "b@y.test", "pending", 0, 0, 5, None, 1700000000, 1700000000, None, 99),
        QueueRow(2, "", "c@y.test", "retry", 1, 3, 5, 1700000900, 1700000000, 1700000100, "451 later", 1234),
    )


class Store:
    """`scan` gives what fits the function's name, or raises Busy while `broken`, or hangs while `stuck`."""

    broken = stuck = False
    trouble = ""
    scans = 0

    async def scan(self, fn: Callable[..., Any], *args: Any) -> Any:
        self.scans += 1
        if self.stuck:
            await asyncio.Event().wait()
        if self.broken:
            raise Busy("locked by somebody")
        if fn.__name__ == "trouble":
            return self.trouble
        counts = QueueCounts(2, 1, 0, 1, 0)
        if fn.__name__ == "counts":
            return counts
        if fn.__name__ == "queue_figures":
            return counts, 4
        limit, offset, status = args
        rows = [row for row in Rows.queue if status in (None, row.status)]
        return counts, rows[offset : offset + limit]


class Server:
    """The interfaces and everything a test may turn."""

    def __init__(self) -> None:
        self.now = 1_700_000_100.0
        self.ledger = Ledger(3)
        self.slots: list[Slot] = [self.ledger.attach(n) for n in (0, 1, 2)]
        self.store = Store()
        self.settings = Settings.of("testing", max_connections=20)
        self.disk = ""
        self.draining = False
        self.beat = 1000.0  # seconds of the monotonic clock

        async def disk() -> str:
            return self.disk

        self.figures = Figures(
            ledger=self.ledger,
            settings=lambda: self.settings,
            store=self.store,  # type: ignore[arg-type]
            checks=Checks(
                {"database": database(self.store), "filesystem": disk},  # type: ignore[arg-type]
                clock=lambda: self.beat,
                deadline=0.05,
            ),
            started_at=1_700_000_000.0,
            draining=lambda: self.draining,
            clock=lambda: self.now,
            monotonic=lambda: self.beat,
            version="1.2.3",
        )
        self.health = HttpServer(health_interface(self.figures))
        self.api = HttpServer(api_interface(self.figures))
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        for name, server in (("health", self.health), ("api", self.api)):
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setblocking(False)
            self.ports[name] = sock.getsockname()[1]
            await server.start([sock])

    async def raw(self, data: bytes, port: str = "health") -> bytes:
        """Everything the server says to these octets until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port])
        writer.write(data)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer

    async def get(self, path: str, port: str = "health", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        answer = await self.raw(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), port)
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(status.split()[1]), headers, body

    async def json(self, path: str, port: str = "health") -> tuple[int, Any]:
        status, headers, body = await self.get(path, port)
        assert headers["content-type"] == "application/json"
        return status, json.loads(body)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server()
    await running.start()
    yield running
    running.store.stuck = False
    await running.health.close(0)
    await running.api.close(0)
    await asyncio.sleep(0)
