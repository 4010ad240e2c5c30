"""Coroutines that are begun where they are made, since most of them end without having waited for anything.

A task costs more than what many of them do, and is begun only when the loop comes round. (Python 3.12 has this as eager
tasks.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any


def begin(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
    """Run it up to where it waits for the first time; what is left of it is for a task. None: it has ended.

    Raises what it raises. Until it waits it has no task of its own, so it begins no `asyncio.timeout`.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return _rest(work, awaited)


def carry(work: Coroutine[Any, Any, None], _waited_for: object = None) -> None:
    """Run it up to where it waits, and go on as soon as what it waits for is there: all of it without a task, which
    would cost two more turns of the loop.

    Raises what it raises before it waits; what it raises later goes to the loop's exception handler. So nothing in it
    may want a task: no `asyncio.timeout`, nobody cancels it. When what it waits for is cancelled it ends.
    """
    try:
        awaited = work.send(None)
    except (StopIteration, asyncio.CancelledError):
        return
    if awaited is None:  # asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(carry, work)
    else:
        awaited._asyncio_future_blocking = False  # as a task does: it has seen that this is to be waited for
        awaited.add_done_callback(partial(carry, work))


async def _rest(work: Coroutine[Any, Any, None], awaited: Any) -> None:
    """Since Python 3.12 a task takes no generator that goes by the name of coroutine."""
    await _going_on(work, awaited)


@coroutine
def _going_on(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Go on with what waits for `awaited` (a future, which the task waits for in its place)."""
    while True:
        thrown: BaseException | None = None
        sent = None
        try:
            sent = yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            thrown = error
        try:
            awaited = work.send(sent) if thrown is None else work.throw(thrown)
        except StopIteration:
            return
