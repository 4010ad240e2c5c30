"""Writes that go along with others', and the bell that a run waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from virtual_time import VirtualLoop

from pillarbox.flow.sending.bell import Bell
from pillarbox.flow.sending.parts import LEAST, MOST, Company


def played(body: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(body(loop))
    finally:
        loop.close()


def test_who_waits_writes_before_the_one_who_leaves():
    async def body(loop):
        company, written = Company(), []
        waiting = loop.create_task(company.wait(lambda: written.append("settled") or "done"))
        await asyncio.sleep(LEAST + 0.001)
        company.leaves()
        written.append("accepted")
        company.leaves()
        assert written == ["settled", "accepted"]
        assert await waiting == "done"

    played(body)


def test_nobody_goes_along_at_once_or_waits_for_ever():
    async def body(loop):
        company, written = Company(), []
        waiting = loop.create_task(company.wait(lambda: written.append(loop.time())))
        await asyncio.sleep(LEAST / 2)
        company.leaves()
        assert not written
        await waiting
        assert written == [pytest.approx(MOST)]
        company.leaves()
        assert len(written) == 1

    played(body)


def test_what_keeps_it_from_writing_is_raised_where_it_waits():
    async def body(loop):
        company = Company()

        def fails():
            raise ValueError("no store")

        with pytest.raises(ValueError, match="no store"):
            await company.wait(fails)
        waiting = loop.create_task(company.wait(fails))
        await asyncio.sleep(LEAST + 0.001)
        company.leaves()  # is not what goes wrong for who leaves
        with pytest.raises(ValueError, match="no store"):
            await waiting

    played(body)


def test_who_was_interrupted_writes_nothing():
    async def body(loop):
        company, written = Company(), []
        waiting = loop.create_task(company.wait(lambda: written.append("late")))
        await asyncio.sleep(LEAST + 0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        company.leaves()
        await asyncio.sleep(2 * MOST)
        assert not written

    played(body)


def test_a_bell_ends_the_wait_when_it_rings_or_its_time_is_over():
    async def body(loop):
        bell = Bell(loop)
        loop.call_later(1, bell.ring)
        assert await bell.wait(5) and loop.time() == 1
        assert await bell.wait(5) and loop.time() == 1  # it has rung already
        bell.clear()
        assert not await bell.wait(5) and loop.time() == 6
        loop.call_later(3, bell.ring)
        assert await bell.wait(30) and loop.time() == 9
        bell.end()

    played(body)
