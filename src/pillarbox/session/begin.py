"""Coroutines that are begun where they are made, since most of them end without having waited for anything.

A task costs more than what many of them do, and is begun only when the loop comes round. (Python 3.12 has this as eager
tasks.)
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
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
