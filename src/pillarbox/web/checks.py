"""Whether what mail needs is there: the database answers and takes writes, the disk has room.

Each check runs in a thread and has a deadline, and its outcome is kept for a moment, so that neither a stuck disk nor
a curious client holds anything up.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from pillarbox.store import Store, StoreError
from pillarbox.store.readiness import trouble

KEPT = 1.0  # seconds
DEADLINE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """One dependency: how it is and how long the answer took, in milliseconds."""

    name: str
    healthy: bool
    milliseconds: float
    error: str = ""


class Checks:
    """The checks of one worker. `checks` give "" for healthy, else what is wrong."""

    def __init__(
        self,
        checks: dict[str, Callable[[], Awaitable[str]]],
        *,
        clock: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE,
    ) -> None:
        self._checks = checks
        self._clock = clock
        self._deadline = deadline
        self._known: dict[str, Outcome] = {}
        self._at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def look(self) -> dict[str, Outcome]:
        """Outcome by name, at most a second old. Whoever asks meanwhile waits for the same look."""
        if self._clock() - self._at > KEPT:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.get_running_loop().create_task(self._look())
            await asyncio.shield(self._looking)
        return self._known

    async def _look(self) -> None:
        found = await asyncio.gather(*(self._one(name, check) for name, check in self._checks.items()))
        self._known = {outcome.name: outcome for outcome in found}
        self._at = self._clock()

    async def _one(self, name: str, check: Callable[[], Awaitable[str]]) -> Outcome:
        began = self._clock()
        try:
            async with asyncio.timeout(self._deadline):
                wrong = await check()
        except TimeoutError:
            wrong = f"no answer within {self._deadline:.0f} s"
        except (OSError, StoreError) as error:
            wrong = str(error) or type(error).__name__
        return Outcome(name, not wrong, round((self._clock() - began) * 1000, 3), wrong)


def database(store: Store) -> Callable[[], Awaitable[str]]:
    """Reads something small, in a thread."""

    async def check() -> str:
        return await store.scan(trouble)

    return check


def filesystem(path: str, least: Callable[[], int], threads: Executor) -> Callable[[], Awaitable[str]]:
    """The disk of the database has at least so many octets left; with less, mail is put off."""

    def look() -> int:
        status = os.statvfs(os.path.dirname(os.path.abspath(path)))
        return status.f_bavail * status.f_frsize

    async def check() -> str:
        free = await asyncio.get_running_loop().run_in_executor(threads, look)
        return "" if free >= least() else f"{free} bytes free, {least()} are needed"

    return check
