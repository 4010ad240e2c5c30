"""A clock that only a test moves."""

from __future__ import annotations

START = 1_700_000_000


class Clock:
    """Gives `now`; who sleeps by it moves it and waits for nothing."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
