"""Waiting for what other tasks do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(happened: Callable[[], object], what: str = "it", seconds: float = 10) -> None:
    """Let other tasks run until it has `happened`. Raises AssertionError that says `what` has not."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not happened():
        assert loop.time() < end, f"{what} has not happened within {seconds} s"
        await asyncio.sleep(0.002)
