"""A real supervisor with real forks and sockets on loopback, whose workers speak a toy protocol.

The toy greets with `hello PID HOSTNAME`, answers a line with `PID`, and knows three words: `busy` begins something
that a drain lets finish, `done` ends it, `hang` blocks the loop for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pillarbox.access.ledger import Field, Slot
from pillarbox.config import Loaded, Settings
from pillarbox.server import certificates, supervisor
from pillarbox.server.hints import Hints
from pillarbox.server.parts import Parts
from pillarbox.server.supervisor import Supervisor
from pillarbox.server.worker import Seat


class Toy(asyncio.Protocol):
    def __init__(self, application: ToyApplication) -> None:
        self.application = application
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        transport = self.transport
        self.application.sessions.add(self)
        self.application.slot.add(Field.CONNECTIONS_TOTAL)
        self.application.slot.add(Field.CONNECTIONS_ACTIVE)
        transport.write(f"hello {os.getpid()} {self.application.settings.hostname}\n".encode())

    def data_received(self, data: bytes) -> None:
        word = data.strip()
        if word == b"hang":
            signal.pause()
        if word == b"hint":
            self.application.hints.tell([(1, 2)])
        if word == b"heard":
            self.transport.write(f"{self.application.heard}\n".encode())
            return
        if word == b"total":
            total = self.application.seat.ledger.total(Field.CONNECTIONS_TOTAL)
            self.transport.write(f"{total}\n".encode())
            return
        self.busy = word == b"busy" if word in (b"busy", b"done") else self.busy
        self.transport.write(f"{os.getpid()} {self.application.settings.hostname}\n".encode())
        if self.application.draining:
            self.leave()

    def leave(self) -> None:
        if not self.busy:
            self.transport.write(b"bye\n")
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.application.slot.add(Field.CONNECTIONS_ACTIVE, -1)
        self.application.sessions.discard(self)


class ToyApplication:
    def __init__(self, seat: Seat, slot: Slot) -> None:
        self.seat, self.slot, self.settings = seat, slot, seat.settings
        self.sessions: set[Toy] = set()
        self.draining = False
        self.servers: list[asyncio.Server] = []
        self.heard: list[tuple[int, int]] = []
        self.hints = Hints(seat.hints, seat.ledger, seat.slot, self.heard.extend)

    async def start(self) -> None:
        if self.settings.hostname == "fails.test":
            raise RuntimeError("it cannot start")
        self.hints.start()

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        tls = certificates.context(self.seat.pem) if self.seat.pem else None
        for address, sock in self.seat.sockets:
            secured = tls if address.role == "imaps" else None
            self.servers.append(await loop.create_server(lambda: Toy(self), sock=sock, ssl=secured))

    async def reload(self, settings: Settings, pem: bytes) -> None:
        self.settings = settings

    async def drain(self, patience: float, *, now: bool) -> int:
        self.draining = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)  # what was just accepted becomes a session
        for session in list(self.sessions):
            session.leave()
        end = asyncio.get_running_loop().time() + patience
        while self.sessions and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        return len(self.sessions)

    async def close(self) -> None:
        for session in list(self.sessions):
            session.transport.abort()


class Client:
    """One connection to the toy."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.lines = self.socket.makefile("rb")
        _, self.pid, self.hostname = self.lines.readline().decode().split()

    def ask(self, word: str) -> str:
        self.socket.sendall(word.encode() + b"\n")
        return self.lines.readline().decode().strip()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


class Server:
    """The supervisor, in a child of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changes = folder / "settings.json"
        self.log_file = folder / "stderr"
        self.pid = 0
        self.ports: dict[str, int] = {}
        self.clients: list[Client] = []
        self.status: int | None = None

    def load(self) -> Loaded:
        changes: dict[str, Any] = json.loads(self.changes.read_text()) if self.changes.exists() else {}
        base: dict[str, Any] = {"db_path": self.folder / "smtp.db", "http_host": "127.0.0.1", "host": "127.0.0.1"}
        base |= {"api_port": None, "health_port": None, "log_level": "debug", "worker_threads": 2}
        for name in ("tls_cert", "tls_key", "log_file"):
            if name in changes:
                changes[name] = Path(changes[name])
        try:
            return Loaded(Settings.of("testing", **base | changes), (), ())
        except TypeError as error:
            return Loaded(None, (), (error,))  # type: ignore[arg-type]

    def start(
        self,
        *,
        ready: bool = True,
        prepare: Any = None,
        conclude: Any = None,
        parts: Parts | None = None,
        **changes: Any,
    ) -> Server:
        self.changes.write_text(json.dumps(changes))
        toy = Parts(ToyApplication, prepare=prepare or (lambda _: None), conclude=conclude or (lambda _: None))
        reader, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                os.close(reader)
                os.sched_getaffinity = lambda _: {0, 1}  # type: ignore[assignment]  # as if there were two CPUs
                supervisor.LOOK = 0.02
                os.dup2(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                status = Supervisor(
                    self.load().settings,
                    parts or toy,
                    load=self.load,
                    environ={},
                    on_ready=lambda ports: os.write(writer, json.dumps(ports).encode()) and None,
                ).run()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(writer)
        if ready:
            assert select.select([reader], [], [], 10)[0], self.log()
            self.ports = json.loads(os.read(reader, 9999) or b"{}")
            assert self.ports, self.log()
        os.close(reader)
        return self

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def wait_for(self, what: str | Callable[[], Any], times: int = 1) -> Any:
        """Until a text is in the log (so many times) or a function gives something true."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            found = self.log().count(what) >= times if isinstance(what, str) else what()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"not seen: {what}\n{self.log()}")

    def connect(self, role: str = "smtp") -> Client:
        client = Client(self.ports[role])
        self.clients.append(client)
        return client

    def workers(self) -> list[int]:
        return [int(p) for p in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def reload(self, **changes: Any) -> None:
        self.changes.write_text(json.dumps(changes))
        os.kill(self.pid, signal.SIGHUP)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            self.status = self.wait()
        return self.status

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    for client in running.clients:
        client.close()
    if running.pid and running.status is None:
        for pid in [running.pid, *running.workers()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
