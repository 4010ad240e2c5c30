"""One timer for all connections of a worker.

A session that hears something only moves its own `deadline`; nobody tells the timer. Once a second the connections
whose turn has come are looked at, and those whose deadline has moved on are put off until then. So a command costs an
assignment, and ten thousand idle connections cost nothing but their memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timed(Protocol):
    """What has a deadline: seconds of the loop's clock, float("inf") for none."""

    deadline: float
    turn: int  # the second in which it is looked at; -1 while it is not watched

    def timed_out(self) -> None:
        """The deadline has passed. Called once; watch again to be called again."""


class Deadlines:
    """Watches deadlines with a resolution of one second. `clock` is the loop's, in seconds."""

    __slots__ = ("_clock", "_timer", "_turns")

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._turns: dict[int, set[Timed]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def watch(self, timed: Timed) -> None:
        """Look after a deadline; call it again after one that was moved to an earlier time."""
        self.forget(timed)
        if timed.deadline != float("inf"):
            self._put(timed)
            if self._timer is None:
                self._arm()

    def forget(self, timed: Timed) -> None:
        """To be called when the connection ends."""
        if timed.turn >= 0:
            turns = self._turns.get(timed.turn)
            if turns is not None:
                turns.discard(timed)
                if not turns:
                    del self._turns[timed.turn]
            timed.turn = -1

    def tick(self) -> None:
        """Look at all whose turn it is. The timer calls it; so do tests, with a clock of their own."""
        now = self.now()
        for turn in sorted(t for t in self._turns if t <= now):
            for timed in self._turns.pop(turn, ()):
                if timed.turn != turn:
                    continue  # forgotten by what one before it did
                timed.turn = -1
                if timed.deadline <= now:
                    timed.timed_out()
                elif timed.deadline != float("inf"):
                    self._put(timed)

    def _put(self, timed: Timed) -> None:
        timed.turn = int(timed.deadline) + 1
        self._turns.setdefault(timed.turn, set()).add(timed)

    def _arm(self) -> None:
        if self._clock is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.tick()
        if self._turns:
            self._arm()
