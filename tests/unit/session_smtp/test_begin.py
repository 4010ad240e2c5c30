"""Coroutines that are begun at once: to the end when they wait for nothing, else by a task from there on."""

import asyncio
import inspect

import pytest

from pillarbox.session.begin import begin


async def _steps(said, waits, fails=None):
    said.append("begun")
    for wait in waits:
        try:
            said.append(await wait)
        except KeyError as error:
            said.append(error.args[0])
    if fails is not None:
        raise fails


async def _answer(value):
    return value


async def test_what_waits_for_nothing_has_ended():
    said = []
    assert begin(_steps(said, [_answer(1)])) is None
    assert said == ["begun", 1]
    with pytest.raises(OSError, match="no"):
        begin(_steps(said, [], OSError("no")))


async def test_what_waits_goes_on_in_a_task():
    loop, said = asyncio.get_running_loop(), []
    first, second, third = (loop.create_future() for _ in range(3))
    rest = begin(_steps(said, [first, asyncio.sleep(0, "slept"), second, asyncio.shield(third)], OSError("no")))
    assert said == ["begun"] and inspect.iscoroutine(rest)  # a task of Python 3.12 takes nothing less
    task = loop.create_task(rest)
    first.set_result(1)
    second.set_exception(KeyError("refused"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    third.set_result(3)
    with pytest.raises(OSError, match="no"):
        await task
    assert said == ["begun", 1, "slept", "refused", 3]


async def test_it_can_be_cancelled():
    loop, said = asyncio.get_running_loop(), []

    async def tidy():
        try:
            await loop.create_future()
        finally:
            said.append("tidied")

    task = loop.create_task(begin(tidy()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    begin(tidy()).close()  # never given to a task
    assert said == ["tidied", "tidied"]
