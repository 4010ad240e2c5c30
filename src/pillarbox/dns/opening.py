"""Which engine answers, and a change of engine when it must be: `open_resolver`.

`auto` takes libunbound when the system has it, else c-ares; it also goes over to c-ares for a while when nothing at all
can be validated, because the servers take the signatures off or our keys are too old, and nothing has been validated
through these servers before: mail then goes on without DANE, and the log says so. After a while of failures only, the
engine is opened anew with the servers that the system has by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal

import structlog
from msgspec import Struct

from pillarbox.dns.answer import Answer, Engine, Kind
from pillarbox.dns.caching import TIMEOUT, CachingResolver
from pillarbox.dns.servers import Server, system_servers
from pillarbox.dns.trust_anchor import system_anchors
from pillarbox.dns.unbound import UnboundEngine, UnboundError

log = structlog.get_logger()

Choice = Literal["auto", "unbound", "cares"]

PATIENCE = 15.0  # seconds of nothing but failures before an engine is opened anew, and between two such
UNVALIDATED = 3600.0  # seconds without validation before it is tried again


class Ways(Struct, frozen=True):
    """How names are looked up. Without `servers` those of resolv.conf are asked. `trust_anchor` is a file, "" for the
    built-in and the system's keys. `insecure` are zones not to be validated."""

    choice: Choice = "auto"
    servers: tuple[Server, ...] = ()
    trust_anchor: str = ""
    insecure: tuple[str, ...] = ()


def open_resolver(
    *,
    engine: Choice = "auto",
    servers: Sequence[str] = (),
    trust_anchor: str = "",
    insecure: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> CachingResolver:
    """A resolver for this process and loop; nothing is opened before the first question. `servers` are spelled
    `address` or `address@port`. Raises ValueError for what is no such thing."""
    ways = Ways(engine, tuple(Server.read(text) for text in servers), trust_anchor, tuple(insecure))
    return CachingResolver(lambda: ChosenEngine(ways), timeout=timeout)


class ChosenEngine:
    """The engine of the operator's choice, and what takes its place when it cannot do the work.

    Raises OSError or UnboundError when `unbound` was chosen and is not to be had.
    """

    def __init__(
        self,
        ways: Ways,
        *,
        make: Callable[[Ways, Sequence[Server]], Engine] | None = None,
        find_servers: Callable[[], tuple[Server, ...]] = system_servers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ways, self._find_servers, self._clock = ways, find_servers, clock
        self._make = make or make_engine
        self._servers = ways.servers or find_servers()
        self._engine = self._make(ways, self._servers)
        self._opened = self._last_good = clock()
        self._validated = False  # through these servers, by this process
        self._back_at: float | None = None  # when validation is tried again
        self._turn = asyncio.Lock()
        self._retired: dict[asyncio.Task[None], Engine] = {}

    @property
    def name(self) -> str:
        asked = ", ".join(str(server) for server in self._servers)
        validation = "" if self._engine.validates else ", without DNSSEC validation"
        return f"{self._engine.name} asking {asked}{validation}"

    @property
    def validates(self) -> bool:
        return self._engine.validates

    async def ask(self, name: str, kind: Kind) -> Answer:
        if self._back_at is not None and self._clock() >= self._back_at:
            self._back_at = None
            self._replace(self._make(self._ways, self._servers))
        engine = self._engine
        answer = await engine.ask(name, kind)
        if not answer.failed:
            self._last_good = self._clock()
            self._validated = self._validated or answer.secure
        elif answer.status == "bogus":
            self._last_good = self._clock()
            if await self._cannot_validate(engine):
                answer = await self._engine.ask(name, kind)
        elif self._clock() - max(self._last_good, self._opened) >= PATIENCE:
            await self._open_anew(engine)
        return answer

    async def _cannot_validate(self, engine: Engine) -> bool:
        """Whether this bogus answer says nothing about its name, because nothing can be validated; then another engine
        has taken over."""
        if self._ways.choice != "auto" or self._validated or not isinstance(engine, UnboundEngine):
            return False
        async with self._turn:
            if self._engine is not engine:
                return not self._engine.validates
            if await engine.root_status() != "bogus":
                return False
            self._replace(self._make(Ways("cares"), self._servers))
            self._back_at = self._clock() + UNVALIDATED
            log.warning(
                "DNS answers cannot be validated through these servers, and are taken as they come for a while. "
                "Do the servers take the DNSSEC signatures off, or is the key of the root too old? Fix: ask a "
                "validating resolver on this machine (SMTP_DNS_SERVERS), or set SMTP_DNS_ENGINE=cares",
                servers=[str(server) for server in self._servers],
                seconds=UNVALIDATED,
            )
            return True

    async def _open_anew(self, engine: Engine) -> None:
        """Forget what the engine thinks of servers that failed, and look which servers the system has now."""
        async with self._turn:
            if self._engine is not engine:
                return
            self._opened = self._clock()
            servers = self._ways.servers or await asyncio.to_thread(self._find_servers)
            if servers != self._servers:
                log.info("The system names other DNS servers now", servers=[str(server) for server in servers])
                self._validated = False
            self._servers = servers
            self._back_at = None
            self._replace(self._make(self._ways, servers))

    def _replace(self, engine: Engine) -> None:
        """From now on ask another engine. The old one goes on with its questions until the longest deadline is over."""
        old, self._engine = self._engine, engine
        task = asyncio.get_running_loop().create_task(_retire(old))
        self._retired[task] = old
        task.add_done_callback(lambda done: self._retired.pop(done, None))

    async def close(self) -> None:
        retired, self._retired = self._retired, {}
        for task in retired:
            task.cancel()
        await asyncio.gather(*retired, return_exceptions=True)
        for engine in (*retired.values(), self._engine):
            await engine.close()


async def _retire(engine: Engine) -> None:
    await asyncio.sleep(TIMEOUT)
    await engine.close()


def make_engine(ways: Ways, servers: Sequence[Server]) -> Engine:
    """An engine of the operator's choice. Raises OSError or UnboundError when `unbound` was chosen and cannot be."""
    if ways.choice != "cares":
        try:
            anchors = () if ways.trust_anchor else system_anchors()
            return UnboundEngine(servers, anchors=anchors, anchor_file=ways.trust_anchor, insecure=ways.insecure)
        except (OSError, UnboundError) as error:
            if ways.choice == "unbound":
                raise
            if isinstance(error, UnboundError):
                log.warning("libunbound cannot be used; c-ares takes its place", reason=str(error))
    from pillarbox.dns.cares import CaresEngine

    return CaresEngine(servers)
