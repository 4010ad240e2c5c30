"""Coroutines that are begun at once: to the end when they wait for nothing, else on by a task or without."""

import asyncio
import inspect

import pytest

from pillarbox.session.begin import begin, carry


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


async def test_what_is_carried_goes_on_without_a_task():
    loop, said = asyncio.get_running_loop(), []
    first, second, third = (loop.create_future() for _ in range(3))
    before = asyncio.all_tasks()
    carry(_steps(said, [_answer(0), first, asyncio.sleep(0, "slept"), second, asyncio.shield(third)]))
    assert said == ["begun", 0]
    first.set_result(1)
    second.set_exception(KeyError("refused"))
    await asyncio.sleep(0)
    assert said == ["begun", 0, 1]
    await asyncio.sleep(0)
    assert said == ["begun", 0, 1, "slept", "refused"] and asyncio.all_tasks() == before
    third.set_result(3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert said[-1] == 3


async def test_what_is_carried_fails_where_it_is():
    loop, said, failures = asyncio.get_running_loop(), [], []
    loop.set_exception_handler(lambda loop, context: failures.append(context["exception"]))
    with pytest.raises(OSError, match="at once"):
        carry(_steps(said, [_answer(1)], OSError("at once")))
    later = loop.create_future()
    carry(_steps(said, [later], OSError("later")))
    assert not failures
    later.set_result(2)
    await asyncio.sleep(0)
    assert [str(failure) for failure in failures] == ["later"] and said == ["begun", 1, "begun", 2]


async def test_what_is_carried_ends_with_what_it_waits_for():
    loop, said, failures = asyncio.get_running_loop(), [], []
    loop.set_exception_handler(lambda loop, context: failures.append(context))

    async def tidy():
        try:
            said.append(await given_up)
        finally:
            said.append("tidied")

    given_up = loop.create_future()
    carry(tidy())
    given_up.cancel()
    await asyncio.sleep(0)
    assert said == ["tidied"] and not failures
