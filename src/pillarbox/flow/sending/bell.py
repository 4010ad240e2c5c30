"""A bell to be woken by, for who waits often and never long: without a timer of the loop, a scope for cancellation and
a question for the loop each time, as an event and a timeout of asyncio have them.
"""

from __future__ import annotations

import asyncio

from ..alarm import Alarm


class Bell:
    """One task at a time waits for it. Belongs to the loop."""

    __slots__ = ("_alarm", "_loop", "_rung", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None
        self._alarm = Alarm(self._wake)

    def ring(self) -> None:
        """Whoever waits goes on, or does not begin to wait."""
        self._rung = True
        self._wake()

    def clear(self) -> None:
        """It has not rung."""
        self._rung = False

    async def wait(self, seconds: float) -> bool:
        """Until it rings, at most so long; whether it did."""
        if not self._rung:
            self._waiter = self._loop.create_future()
            self._alarm.set(self._loop.time() + seconds)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._alarm.clear()
        return self._rung

    def end(self) -> None:
        """Leave nothing with the loop."""
        self._alarm.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
