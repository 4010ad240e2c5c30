"""Waits that share one timer of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from virtual_time import VirtualLoop

from pillarbox.flow.alarm import Alarm


class CountingLoop(VirtualLoop):
    """Knows how many timers were started."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    def call_at(self, *args: Any, **kw: Any) -> asyncio.TimerHandle:
        self.timers += 1
        handle: asyncio.TimerHandle = super().call_at(*args, **kw)
        return handle


def rung(steps: Callable[[Alarm, CountingLoop], Coroutine[Any, Any, None]]) -> tuple[list[float], int]:
    """When the alarm rang while `steps` went on, and how many timers that took beside those of `steps` itself."""
    loop = CountingLoop()
    times: list[float] = []

    async def all_of_it() -> None:
        alarm = Alarm(lambda: times.append(loop.time()))
        await steps(alarm, loop)
        alarm.end()

    try:
        loop.run_until_complete(all_of_it())
    finally:
        loop.close()
    return times, loop.timers


async def pause(loop: CountingLoop, seconds: float) -> None:
    loop.timers -= 1
    await asyncio.sleep(seconds)


def test_a_wait_that_is_over_in_time_costs_no_timer():
    async def many_waits(alarm: Alarm, loop: CountingLoop) -> None:
        for _ in range(50):
            alarm.set(loop.time() + 60)
            await pause(loop, 0.5)
            alarm.clear()

    times, timers = rung(many_waits)
    assert times == []
    assert timers == 1


def test_it_rings_at_the_time_that_was_set_last():
    async def later_then_sooner(alarm: Alarm, loop: CountingLoop) -> None:
        alarm.set(10)
        await pause(loop, 5)
        alarm.set(30)  # the running timer fires at 10 and finds that it moved
        await pause(loop, 40)
        alarm.set(60)
        alarm.set(50)
        await pause(loop, 20)

    assert rung(later_then_sooner)[0] == [30, 50]


def test_it_rings_once_and_not_when_it_was_cleared_or_ended():
    async def cleared(alarm: Alarm, loop: CountingLoop) -> None:
        alarm.set(1)
        await pause(loop, 3)
        alarm.set(4)
        alarm.clear()
        await pause(loop, 3)
        alarm.set(8)
        alarm.end()
        await pause(loop, 3)
        alarm.set(11)  # it can be used again
        await pause(loop, 3)

    assert rung(cleared)[0] == [1, 11]
