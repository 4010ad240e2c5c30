import asyncio

import pytest

from pillarbox.flow.memory import DiskGauge, MemoryBudget, free_octets
from pillarbox.session.begin import carry


async def test_what_fits_is_counted_and_what_does_not_is_not():
    budget = MemoryBudget(100)
    assert budget.take(60)
    assert not budget.take(50)
    assert budget.used == 60
    budget.release(60)
    assert budget.used == 0


async def test_waiters_are_served_in_order_and_nobody_overtakes_them():
    budget = MemoryBudget(100)
    budget.take(90)
    served = []

    async def wait(name, size):
        assert await budget.wait(size, 5)
        served.append(name)

    tasks = [asyncio.ensure_future(wait("big", 80)), asyncio.ensure_future(wait("small", 5))]
    await asyncio.sleep(0)
    assert not budget.take(1), "a newcomer must not overtake those who wait"
    budget.release(5)
    await asyncio.sleep(0)
    assert served == []
    budget.release(85)
    await asyncio.gather(*tasks)
    assert served == ["big", "small"]
    assert budget.used == 85


async def test_waiting_ends_with_patience_and_lets_the_next_one_in():
    budget = MemoryBudget(100)
    budget.take(95)
    behind = asyncio.ensure_future(budget.wait(50, 0))
    next_one = asyncio.ensure_future(budget.wait(5, 5))
    assert not await behind
    assert await next_one
    assert budget.used == 100


async def test_one_may_wait_without_a_task():
    budget, told = MemoryBudget(limit=100), []
    budget.take(90)

    async def wait(patience):
        told.append(await budget.wait(60, patience))

    for patience in (60, 0):  # a callback is in no task either
        asyncio.get_running_loop().call_soon(carry, wait(patience))
    while not told:
        await asyncio.sleep(0)
    assert told == [False]
    budget.release(90)
    while len(told) < 2:
        await asyncio.sleep(0)
    assert told == [False, True] and budget.used == 60


async def test_who_is_cancelled_when_it_is_his_turn_lets_the_next_one_in():
    budget = MemoryBudget(100)
    budget.take(90)
    first, second = (asyncio.create_task(budget.wait(60, 5)) for _ in range(2))
    await asyncio.sleep(0)
    budget.release(90)
    first.cancel()
    assert await second
    assert first.cancelled() and budget.used == 60


async def test_a_cancelled_waiter_leaves_no_trace():
    budget = MemoryBudget(10)
    budget.take(10)
    waiting = asyncio.ensure_future(budget.wait(5, 5))
    await asyncio.sleep(0)
    budget.release(10)  # its turn comes, and at the same moment it is cancelled
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.used == 0
    assert budget.take(10)


async def test_pressure_is_felt_before_the_end():
    budget = MemoryBudget(100)
    budget.take(70)
    assert not budget.pressed
    budget.take(10)
    assert budget.pressed


async def test_the_disk_is_looked_at_in_a_thread_and_not_too_often():
    now, looks, free = 0.0, 0, 1000

    def look(path):
        nonlocal looks
        looks += 1
        return free

    gauge = DiskGauge("/var/x.db", least=500, every=2.0, free=look, clock=lambda: now)
    assert not gauge.is_low()
    await gauge.settled()
    assert looks == 1
    assert not gauge.is_low()
    now, free = 3.0, 499
    gauge.is_low()
    await gauge.settled()
    assert gauge.is_low()
    assert looks == 2


async def test_a_failed_write_says_so_at_once():
    gauge = DiskGauge("/var/x.db", free=lambda path: 10**12, clock=lambda: 0.0)
    gauge.full()
    assert gauge.is_low()


def test_free_octets_of_a_file_that_is_not_there_yet(tmp_path):
    assert free_octets(str(tmp_path / "smtp.db")) > 0
