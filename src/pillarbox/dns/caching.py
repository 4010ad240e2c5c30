"""The resolver that the house asks: an engine behind a cache, with a deadline and a bound to what is in flight."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import structlog

from pillarbox.dns.answer import KINDS, Answer, Engine, Kind
from pillarbox.dns.cache import AnswerCache, Key
from pillarbox.dns.names import normal

log = structlog.get_logger()

TIMEOUT = 10.0  # seconds
MOST_IN_FLIGHT = 256  # questions at the engine
MOST_WAITING = 4096  # different questions in all; more are told to come back
CACHE_BYTES = 16 * 1024 * 1024
_LOCAL_TTL = 3600
_LOOPBACK: dict[Kind, str] = {"A": "127.0.0.1", "AAAA": "::1"}


class CachingResolver:
    """`Resolver` over an engine, which is opened by the first question.

    One question is in flight for each name and kind, however many ask it; who comes later shares its deadline. A task
    that is cancelled leaves the question to the others, and its answer to the cache.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        *,
        timeout: float = TIMEOUT,
        most_in_flight: int = MOST_IN_FLIGHT,
        cache_bytes: int = CACHE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_engine = open_engine
        self._timeout = timeout
        self._most_in_flight = most_in_flight
        self._cache = AnswerCache(cache_bytes, clock)
        self._clean()

    def _clean(self) -> None:
        self._engine: Engine | None = None
        self._process = 0
        self._flights: dict[Key, asyncio.Future[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(self._most_in_flight)
        self._complained = False

    async def query(self, name: str, kind: Kind) -> Answer:
        wanted = normal(name)
        if wanted is None or kind not in KINDS:
            return Answer("nxdomain", canonical=name, reason="this is no domain name")
        key = wanted, kind
        found = self._cache.get(key)
        if found is not None:
            return found
        if wanted == "localhost" or wanted.endswith(".localhost"):  # RFC 6761 section 6.3
            return _local(wanted, kind)
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= MOST_WAITING:
                return Answer("temperror", canonical=wanted, reason="too many questions at once")
            loop = asyncio.get_running_loop()
            flight = self._flights[key] = loop.create_future()
            task = loop.create_task(self._look_up(key, flight))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(flight)

    def engine(self) -> Engine:
        """The engine, opened if it was not. Raises what opening it raises."""
        if self._engine is None or self._process != os.getpid():
            # A parent's engine has a thread and sockets that are not ours; it is left alone, for the parent to close.
            self._engine = self._open_engine()
            self._process = os.getpid()
        return self._engine

    def introduce(self) -> None:
        """Open the engine and say in the log who it is. One that cannot be opened is an error there, and each question
        tries again."""
        try:
            log.info(f"DNS: {self.engine().name}")
        except Exception as error:
            log.error(f"DNS: nobody can be asked: {error}")

    async def _look_up(self, key: Key, flight: asyncio.Future[Answer]) -> None:
        name, kind = key
        answer = Answer("temperror", canonical=name, reason="the resolver is closed")
        try:
            answer = self._cache.put(key, await self._ask(name, kind))
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if not flight.done():
                flight.set_result(answer)

    async def _ask(self, name: str, kind: Kind) -> Answer:
        try:
            async with asyncio.timeout(self._timeout), self._gate:
                return await self.engine().ask(name, kind)
        except TimeoutError:
            return Answer("temperror", canonical=name, reason=f"no answer within {self._timeout:g} s")
        except Exception as error:  # the promise of `query`: nothing an engine does reaches those who ask
            if not self._complained:
                self._complained = True
                log.exception("The resolver failed", name=name, kind=kind)
            return Answer("temperror", canonical=name, reason=f"the resolver failed: {type(error).__name__}")

    async def close(self) -> None:
        engine, process = self._engine, self._process
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for (name, _), flight in tuple(self._flights.items()):  # of tasks that were ended before they began
            if not flight.done():
                flight.set_result(Answer("temperror", canonical=name, reason="the resolver is closed"))
        if engine is not None and process == os.getpid():
            await engine.close()
        self._cache.clear()
        self._clean()


def _local(name: str, kind: Kind) -> Answer:
    address = _LOOPBACK.get(kind)
    if address is None:
        return Answer("nodata", (), _LOCAL_TTL, canonical=name, reason=f"no {kind} records")
    return Answer("ok", (address,), _LOCAL_TTL, canonical=name)
