"""HTTP on sockets that are open already: uvicorn's protocol on the worker's own loop, with limits a stranger meets.

Only uvicorn's protocol class is used. Its server would bring signal handlers and a timer of its own, and neither has a
place in a worker.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEEP_ALIVE = 5  # seconds that an idle connection stays
PATIENCE = 10.0  # seconds for a whole request to arrive
REQUEST_OCTETS = 1 << 20  # head and body of one request
CONNECTIONS = 200  # at once, of one application in one worker; more get 503


class Connection(HttpToolsProtocol):
    """A client. A request that is too slow or too large ends its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._octets = 0
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(PATIENCE, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > REQUEST_OCTETS:
            self.transport.write(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self._too_slow)

    def on_message_complete(self) -> None:
        self._octets = 0
        self._in_time()
        super().on_message_complete()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self.transport.close()


class HttpServer:
    """One application on its sockets."""

    def __init__(self, app: App) -> None:
        for name in ("uvicorn.error", "uvicorn.asgi"):
            logging.getLogger(name).setLevel(logging.ERROR)  # strangers' bad requests are not worth a line
        self._config = Config(
            cast(Any, app),
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            limit_concurrency=CONNECTIONS,
        )
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for sock in sockets:
            self._servers.append(await loop.create_server(self._connection, sock=sock))

    def _connection(self) -> Connection:
        return Connection(self._config, self._state, {})

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    def stop_listening(self) -> None:
        """Take no connection any more; those that are open go on."""
        for server in self._servers:
            server.close()

    def hang_up(self) -> None:
        """Close what waits for a request; what is being answered is, and closed then."""
        for connection in list(self._state.connections):
            connection.shutdown()

    async def close(self, patience: float = 1.0) -> None:
        """Let requests end for so many seconds, then cut them."""
        self.stop_listening()
        self.hang_up()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=patience)
            for task in late:
                task.cancel()
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
