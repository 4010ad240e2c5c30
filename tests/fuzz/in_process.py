"""Sessions with a real store behind them, in the process of a fuzz target: no sockets, no disk, no waiting.

    premises = Premises(furnish, setting=value)   # the store is filled once ...
    premises.run(play)                            # ... and every `await play(place)` has a copy of its own

`place.client(session)` is the other end of a session: it sends octets in random pieces, hears what is said, and knows
when the session has nothing to do any more. After `play` every connection is cut, nothing may be left of them, the
store must pass its check, and no error may have been logged.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import random
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
import uvloop
from argon2 import PasswordHasher

from pillarbox.access import passwords
from pillarbox.access.ledger import Field, Ledger
from pillarbox.access.limits import Caps, Limiter
from pillarbox.access.passwords import HashGate
from pillarbox.config import Settings
from pillarbox.session import tls
from pillarbox.session.node import Node
from pillarbox.session.tls import TlsHolder
from pillarbox.store.opening import open_store
from pillarbox.store.store import Store

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
STALL = 20.0  # seconds that a session may work on what it was sent; a few hundred octets take milliseconds
ROOM = 2048  # octets that a slow client leaves untaken before the session is told to wait
BURST = 1 << 20  # octets that a session may write after it was told to wait
GROWTH = 192 << 20  # octets that the process may grow from its 200th run on
SPLITS = (1, 1, 2, 3, 7, 50, 400, 5000)


class Fault(AssertionError):
    """An invariant does not hold."""


class Plain:
    """Stands for the ssl object of a transport; what it carries is not encrypted."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def getpeercert(self) -> None:
        return None

    def cipher(self) -> tuple[str, str, int]:
        return ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)

    def version(self) -> str:
        return "TLSv1.3"


class Wire(asyncio.Transport):
    """The transport of one session. A client that is `slow` takes what was written only when the loop comes round."""

    def __init__(self, session: Any, peer: str, *, secured: bool, slow: bool) -> None:
        super().__init__()
        self._session = session
        self._peer = peer
        self._tls = Plain() if secured else None
        self._slow = slow
        self._loop = asyncio.get_running_loop()
        self.untaken = bytearray()
        self._full = False
        self.heard = bytearray()  # what the client has taken and not looked at yet
        self.paused = False  # the session does not want to read
        self.closing = False
        self.finished = False  # the session says no more
        self.lost = False  # the session knows that the connection has ended

    def secure(self) -> None:
        """The handshake is done: this is another transport now, which reads."""
        self._tls = Plain()
        self.paused = False

    # asyncio.Transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peername": (self._peer, 50_000), "sockname": ("192.0.2.250", 143), "ssl_object": self._tls}
        return known.get(name, default)

    def write(self, data: Any) -> None:
        if self.closing:
            return
        if not self._slow:
            self.heard += data
            return
        if not self.untaken:
            self._loop.call_soon(self._loop.call_soon, self._take)
        self.untaken += data
        if not self._full and len(self.untaken) > ROOM:
            self._full = True
            self._session.pause_writing()
        if len(self.untaken) > ROOM + BURST:
            raise Fault(f"{len(self.untaken)} octets were written to a client that takes none")

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _take(self) -> None:
        self.heard += self.untaken
        self.untaken.clear()
        if self._full:
            self._full = False
            if not self.lost:
                self._session.resume_writing()

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._end)

    def abort(self) -> None:
        self.close()

    def _end(self) -> None:
        self.heard += self.untaken
        self.untaken.clear()
        self.lost = True
        self._session.connection_lost(None)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.finished = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Client:
    """The other end of one session."""

    def __init__(self, session: Any, rng: random.Random, *, peer: str, secured: bool, slow: bool) -> None:
        self.session = session
        self.wire = Wire(session, peer, secured=secured, slow=slow)
        self._rng = rng
        session.connection_made(self.wire)

    @property
    def over(self) -> bool:
        """The server has closed the connection, or its side of it."""
        return self.wire.closing or self.wire.finished

    async def send(self, data: bytes) -> None:
        """Send all of it in random pieces. What a closed connection does not take is dropped."""
        at = 0
        while at < len(data) and not self.over:
            size = self._rng.choice(SPLITS)
            if self.wire.paused:
                await self.settle()
                if self.wire.paused and not self.over:
                    raise Fault("the session does nothing and reads nothing")
            if self.over:
                return
            self.session.data_received(data[at : at + size])
            at += size
            if self._rng.randrange(4) == 0:
                await asyncio.sleep(0)

    async def settle(self) -> None:
        """Until the session has answered all that it can answer."""
        for _ in range(3):  # what a callback brings may be work again
            until = time.monotonic() + STALL
            while (busy := self.session._busy) is not None:
                if busy is True:  # it goes on with what it waits for, and has no task
                    await asyncio.sleep(0.0005)
                else:
                    await asyncio.wait({busy}, timeout=STALL)
                if time.monotonic() > until:
                    raise Fault(f"the session still works after {STALL:.0f} s")
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            while self.wire.untaken:
                await asyncio.sleep(0)

    def end(self) -> None:
        """The client sends no more."""
        if not self.over and not self.session.eof_received():
            self.wire.close()


class Place:
    """A store and a node for one run."""

    def __init__(self, node: Node, store: Store, rng: random.Random) -> None:
        self.node, self.store, self.rng = node, store, rng
        self.clients: list[Client] = []

    def client(self, session: Any, *, secured: bool = True, slow: bool = False) -> Client:
        made = Client(session, self.rng, peer=f"192.0.2.{len(self.clients) + 1}", secured=secured, slow=slow)
        self.clients.append(made)
        return made


class Premises:
    """Makes a place for each run. `settings` are given to the settings of the node."""

    def __init__(self, furnish: Callable[[Store], Awaitable[None]], **settings: Any) -> None:
        self._furnish = furnish
        self._settings = {"hostname": "mx.example.com", "max_message_size": 20_000, "disk_reserve": 0, **settings}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folder = Path()
        self._faults: list[str] = []
        self._runs = 0
        self._size = 0

    def run(self, play: Callable[[Place], Awaitable[None]], seed: int = 0) -> None:
        """One run; raises whatever `play` raises, and Fault."""
        if self._loop is None:
            self._set_up()
        assert self._loop is not None
        self._faults.clear()
        self._loop.run_until_complete(self._run(play, random.Random(seed)))
        if self._faults:
            raise Fault("; ".join(self._faults))
        self._runs += 1
        if self._runs % 200 == 0:
            self._look_at_memory()

    def _set_up(self) -> None:
        shared = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp(prefix="pillarbox-fuzz-", dir=shared if shared.is_dir() else None))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self._faults.append(f"in a callback: {context!r}"))
        structlog.configure(processors=[self._log])
        tls.upgrade = _upgrade
        passwords.needs_rehash = _never
        passwords.PLACEHOLDER = CHEAP.hash("nobody's")
        self._loop.run_until_complete(self._fill())

    async def _fill(self) -> None:
        store = await open_store(self._folder / "template.db")
        await self._furnish(store)
        await store.close()

    def _log(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        if method in ("error", "exception", "critical"):
            error = sys.exc_info()[1]
            self._faults.append(f"logged: {event}" + ("" if error is None else f" {error!r}"))
            if error is not None and error.__traceback__ is not None:
                frame = error.__traceback__
                while frame.tb_next is not None:
                    frame = frame.tb_next
                self._faults.append(f"in {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}")
        raise structlog.DropEvent

    async def _run(self, play: Callable[[Place], Awaitable[None]], rng: random.Random) -> None:
        for old in self._folder.glob("run.db*"):
            old.unlink()
        for part in self._folder.glob("template.db*"):
            shutil.copy(part, self._folder / part.name.replace("template", "run"))
        path = self._folder / "run.db"
        store = await open_store(path)
        slot = Ledger(2).attach(1)
        settings = Settings.of("development", db_path=str(path), **self._settings)
        holder = TlsHolder(object())  # type: ignore[arg-type]
        node = Node.build(settings, store, slot, Limiter(slot, Caps()), HashGate(), tls=holder)
        node.authenticator._sleep = lambda seconds: asyncio.sleep(0)
        place = Place(node, store, rng)
        try:
            await play(place)
            for client in place.clients:
                client.wire.abort()
                await client.settle()
            if node.sessions:
                self._faults.append("a session is left over")
            if node.memory.used:
                self._faults.append(f"{node.memory.used} octets of the memory for messages are not given back")
            if node.slot.ledger.value(node.slot.number, Field.ERRORS):
                self._faults.append("an error was counted")
            await node.story.close()
            self._faults += await store.check()
        finally:
            node.close()
            await store.close()

    def _look_at_memory(self) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        size = pages * 4096
        self._size = self._size or size
        if size > self._size + GROWTH:
            raise Fault(f"the process has grown by {(size - self._size) >> 20} MiB in {self._runs} runs")


async def _upgrade(transport: Any, protocol: Any, context: Any, **options: Any) -> Any:
    await asyncio.sleep(0)
    transport.secure()
    return transport


def _never(hashed: str) -> bool:
    return False
