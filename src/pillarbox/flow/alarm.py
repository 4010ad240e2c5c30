"""A timer for waits that nearly always end before their time.

Each wait would start a timer of the loop and cancel it again. Here a wait only moves `at`: the loop's timer that is
running looks, when it fires, whether the time has come or has moved on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

NEVER = float("inf")


class Alarm:
    """Calls `ring` when the loop's clock has reached the time that was set; one time at most is set."""

    __slots__ = ("_at", "_loop", "_ring", "_timer", "_timer_at")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER  # when that fires

    def set(self, at: float) -> None:
        """Ring at this time of the loop's clock, and not at the one that was set before."""
        self._at = at
        if at < self._timer_at:
            self._arm(at)

    def clear(self) -> None:
        """Do not ring."""
        self._at = NEVER

    def end(self) -> None:
        """Do not ring, and leave nothing with the loop."""
        self._at = self._timer_at = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        due, self._timer, self._timer_at = self._timer_at, None, NEVER
        if self._at > due:  # it was moved on, or cleared
            if self._at != NEVER:
                self._arm(self._at)
            return
        self._at = NEVER
        self._ring()
