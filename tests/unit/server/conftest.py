"""A real supervisor with real forks and sockets on loopback, whose workers speak a toy protocol (`toy`)."""

from __future__ import annotations

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
from typing import Any

import pytest

from pillarbox.server import standing
from pillarbox.server.parts import Parts
from pillarbox.server.supervisor import Supervisor
from running import children_of
from unit.server import toy


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
        plain = Parts(toy.ToyApplication, prepare=prepare or (lambda _: None), conclude=conclude or (lambda _: None))
        reader, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                os.close(reader)
                toy.pretend()
                os.dup2(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                status = Supervisor(
                    toy.load(self.folder).settings,
                    parts or plain,
                    load=lambda: toy.load(self.folder),
                    environ={},
                    program=toy.program(self.folder),
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
        end = time.monotonic() + 30
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

    def connect_to_all(self, role: str = "smtp", but: str = "") -> dict[str, list[Client]]:
        """Connections until every worker but one has one, by its pid. Whoever is awake first takes the next."""
        found: dict[str, list[Client]] = {}
        for _ in range(1000):
            client = self.connect(role)
            found.setdefault(client.pid, []).append(client)
            if found.keys() == {str(pid) for pid in self.workers()} - {but}:
                return found
        raise AssertionError("not every worker took a connection")

    def workers(self) -> list[int]:
        return children_of(self.pid)

    def reload(self, **changes: Any) -> None:
        self.changes.write_text(json.dumps(changes))
        os.kill(self.pid, signal.SIGHUP)

    def upgrade(self, **flaws: Any) -> None:
        """Ask for it; `flaws` of the new program as in `toy`."""
        (self.folder / "flaws.json").write_text(json.dumps(flaws))
        os.kill(self.pid, signal.SIGUSR2)

    def standing(self) -> standing.Standing:
        return standing.read(self.folder)

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
