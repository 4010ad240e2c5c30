"""An application that speaks a toy protocol, and the program that serves it, as an upgrade starts it.

The toy greets with `hello PID HOSTNAME`, answers a line with `PID HOSTNAME`, and knows some words: `busy` begins
something that a drain lets finish, `done` ends it, `hang` blocks the loop for good.

The settings are in `settings.json` of the folder that the program is given. `flaws.json` there says what is wrong with
it: "prints" is what it complains about and ends, "kills" whom (the trial itself, or the server), "sleeps" before its
workers are ready, "vanishes" once it is ready, "layout" is that of another ledger, "prepare" fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

from pillarbox import cores
from pillarbox.access import ledger, ledger_layout
from pillarbox.access.ledger import Field, Slot
from pillarbox.config import Loaded, Settings
from pillarbox.server import certificates, supervisor
from pillarbox.server.hints import Hints
from pillarbox.server.inheritance import Inheritance
from pillarbox.server.parts import Parts
from pillarbox.server.program import Program
from pillarbox.server.supervisor import Supervisor
from pillarbox.server.trial import Trial
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
        if word in (b"total", b"active"):
            field = Field.CONNECTIONS_TOTAL if word == b"total" else Field.CONNECTIONS_ACTIVE
            self.transport.write(f"{self.application.seat.ledger.total(field)}\n".encode())
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
        seat = self.seat
        tls = certificates.context(seat.pem, tickets=seat.tickets) if seat.pem else None
        for address, sock in self.seat.sockets:
            secured = tls if address.role == "imaps" else None
            self.servers.append(await loop.create_server(lambda: Toy(self), sock=sock, ssl=secured))

    async def reload(self, settings: Settings, pem: bytes, clients: bytes, tickets: bytes) -> None:
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


def load(folder: Path) -> Loaded:
    changes: dict[str, Any] = _read(folder / "settings.json")
    base: dict[str, Any] = {"db_path": folder / "smtp.db", "http_host": "127.0.0.1", "host": "127.0.0.1"}
    base |= {"api_port": None, "health_port": None, "log_level": "debug", "worker_threads": 2}
    for name in ("tls_cert", "tls_key", "log_file"):
        if name in changes:
            changes[name] = Path(changes[name])
    try:
        return Loaded(Settings.of("testing", **base | changes), (), ())
    except TypeError as error:
        return Loaded(None, (), (error,))  # type: ignore[arg-type]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def pretend() -> None:
    """As if there were two CPUs and seconds were short."""
    cores.usable = lambda: 2
    supervisor.LOOK = 0.02


def program(folder: Path) -> Program:
    """A script of its own in the folder that runs this module, so that it can be taken away."""
    script = folder / "program"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = {sys.path!r}\n"
        "from unit.server import toy\nsys.exit(toy.main(sys.argv[1]))\n"
    )
    script.chmod(0o755)
    return Program((str(script), str(folder)), dict(os.environ))


def main(place: str) -> int:
    """The program that an upgrade starts, as a trial and then in the place of the old one."""
    folder = Path(place)
    flaws = _read(folder / "flaws.json")
    pretend()
    if "prints" in flaws:
        raise SystemExit(flaws["prints"])
    if "layout" in flaws:
        ledger.VERSION = ledger_layout.VERSION = flaws["layout"]
    inheritance = Inheritance.take(os.environ)
    assert inheritance is not None
    loaded = load(folder)
    if loaded.errors:
        raise SystemExit(f"Configuration Error: {loaded.errors[0]}")

    def prepare(_: Settings) -> None:
        if flaws.get("kills") == "trial":
            os.kill(os.getppid(), signal.SIGKILL)
        elif flaws.get("kills") == "server":
            os.kill(flaws["pid"], signal.SIGKILL)
        if "prepare" in flaws:
            raise OSError(flaws["prepare"])
        if "sleeps" in flaws:
            (folder / "asleep").touch()
            time.sleep(flaws["sleeps"])
        if "vanishes" in flaws:
            (folder / "program").unlink()

    def conclude(_: Settings) -> None:
        (folder / "concluded").touch()

    parts = Parts(ToyApplication, prepare=prepare, conclude=conclude)
    if inheritance.handed is not None:
        return Trial(loaded.settings, parts, inheritance.handed).run()
    settled = inheritance.settled()
    return Supervisor(
        settled[0] if settled else loaded.settings,
        parts,
        load=lambda: load(folder),
        environ={},
        program=program(folder),
        inheritance=inheritance,
    ).run()
