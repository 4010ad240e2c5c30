"""An event loop whose time jumps to the next timer whenever nothing else is to be done: a day passes in a second.

It waits for real only while the store works in its threads, which `watched` counts.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

EPOCH = 1_700_000_000


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout=None):
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self.loop.outstanding or timeout is None:
            return super().select(5.0)
        self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self.now = 0.0
        self.outstanding = 0

    def time(self):
        return self.now

    def clock(self):
        """Epoch seconds."""
        return EPOCH + self.now


class Watched:
    """A store whose work in threads keeps the time from jumping."""

    def __init__(self, store, loop):
        self._store = store
        self._loop = loop
        self.failing = 0  # so many writes fail
        self.writes = 0

    def write(self, fn, *args, **kw):
        from pillarbox.store.errors import Full

        self.writes += 1
        if self.failing:
            self.failing -= 1
            future = self._loop.create_future()
            future.set_exception(Full("no room"))
            return future
        return self._count(self._store.write(fn, *args, **kw))

    def scan(self, fn, *args, **kw):
        return self._count(self._store.scan(fn, *args, **kw))

    async def read(self, fn, *args, **kw):
        self._loop.outstanding += 1
        try:
            return await self._store.read(fn, *args, **kw)
        finally:
            self._loop.outstanding -= 1

    def _count(self, future):
        self._loop.outstanding += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _):
        self._loop.outstanding -= 1

    def __getattr__(self, name):
        return getattr(self._store, name)


def run(body: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(body(loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
