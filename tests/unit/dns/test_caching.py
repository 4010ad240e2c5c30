"""The resolver over an engine: one question in flight, deadlines, bounds, cancellation, forks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from pillarbox.dns.answer import Answer
from pillarbox.dns.caching import CachingResolver

sys.path.insert(0, str(Path(__file__).parent))
from fake_engine import FakeEngine

GOOD = Answer("ok", ("192.0.2.1",), 60, True, "a.example")


def over(engine: FakeEngine, **options: object) -> CachingResolver:
    return CachingResolver(lambda: engine, **options)  # type: ignore[arg-type]


async def test_an_answer_is_asked_for_once_and_then_kept() -> None:
    engine = FakeEngine({("a.example", "A"): GOOD})
    resolver = over(engine)
    assert (await resolver.query("A.Example.", "A")).records == ("192.0.2.1",)
    assert (await resolver.query("a.example", "A")).secure
    assert engine.asked == [("a.example", "A")]


async def test_many_who_ask_at_once_share_one_question() -> None:
    engine = FakeEngine({("a.example", "A"): GOOD})
    engine.gate = asyncio.Event()
    resolver = over(engine)
    tasks = [asyncio.create_task(resolver.query("a.example", "A")) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    engine.gate.set()
    assert {(await task).records for task in tasks} == {("192.0.2.1",)}
    assert len(engine.asked) == 1


async def test_who_goes_away_leaves_the_question_to_the_others() -> None:
    engine = FakeEngine({("a.example", "A"): GOOD})
    engine.gate = asyncio.Event()
    resolver = over(engine)
    first, second = (asyncio.create_task(resolver.query("a.example", "A")) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    engine.gate.set()
    assert (await second).ok
    assert engine.given_up == 0


async def test_a_question_without_an_answer_ends_by_its_deadline() -> None:
    engine = FakeEngine()
    answer = await over(engine, timeout=0.01).query("a.example", "MX")
    assert (answer.status, answer.failed) == ("temperror", True)
    assert "0.01 s" in answer.reason
    assert engine.given_up == 1


async def test_a_failure_is_remembered_for_a_moment_and_then_asked_again() -> None:
    now = 0.0
    engine = FakeEngine({("a.example", "A"): Answer("temperror", reason="down")})
    resolver = over(engine, clock=lambda: now)
    for _ in range(3):
        assert (await resolver.query("a.example", "A")).status == "temperror"
    assert len(engine.asked) == 1
    now = 6.0
    engine.answers["a.example", "A"] = GOOD
    assert (await resolver.query("a.example", "A")).ok


@pytest.mark.parametrize("name", ["", ".", "x" * 64 + ".example", "a b.example", "ä.example", "a..b"])
async def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    engine = FakeEngine()
    answer = await over(engine).query(name, "A")
    assert (answer.status, answer.records, engine.asked) == ("nxdomain", (), [])
    assert answer.reason


async def test_a_kind_that_is_none_is_not_asked_for() -> None:
    assert (await over(FakeEngine()).query("a.example", "ANY")).status == "nxdomain"  # type: ignore[arg-type]


async def test_localhost_is_this_machine() -> None:
    resolver = over(FakeEngine())
    assert (await resolver.query("localhost", "A")).records == ("127.0.0.1",)
    assert (await resolver.query("x.localhost.", "AAAA")).records == ("::1",)
    assert (await resolver.query("localhost", "MX")).status == "nodata"


@pytest.mark.parametrize("error", [OSError("no library"), ValueError("x"), RuntimeError("y")])
async def test_nothing_that_an_engine_raises_comes_through(error: Exception) -> None:
    engine = FakeEngine({("a.example", "A"): error})
    answer = await over(engine).query("a.example", "A")
    assert answer.status == "temperror"
    assert type(error).__name__ in answer.reason


async def test_an_engine_that_cannot_be_opened_is_tried_again() -> None:
    tries = []

    def broken() -> FakeEngine:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("too many open files")
        return FakeEngine({("b.example", "A"): GOOD})

    resolver = CachingResolver(broken)
    assert (await resolver.query("a.example", "A")).status == "temperror"
    assert (await resolver.query("b.example", "A")).ok


async def test_so_many_are_in_flight_and_no_more() -> None:
    engine = FakeEngine()
    engine.default = lambda name, kind: Answer("ok", ("x",), 60)
    engine.gate = asyncio.Event()
    resolver = over(engine, most_in_flight=4)
    tasks = [asyncio.create_task(resolver.query(f"n{number}.example", "A")) for number in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert engine.now == 4
    engine.gate.set()
    assert all([(await task).ok for task in tasks])
    assert engine.most == 4


async def test_who_waits_for_a_place_has_a_deadline_too() -> None:
    resolver = over(FakeEngine(), most_in_flight=1, timeout=0.02)
    answers = await asyncio.gather(*(resolver.query(f"n{number}.example", "A") for number in range(5)))
    assert {answer.status for answer in answers} == {"temperror"}


async def test_a_flood_of_questions_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillarbox.dns.caching.MOST_WAITING", 3)
    resolver = over(FakeEngine(), timeout=0.02)
    answers = await asyncio.gather(*(resolver.query(f"n{number}.example", "A") for number in range(5)))
    assert sorted(answer.reason for answer in answers)[-2:] == ["too many questions at once"] * 2


async def test_close_answers_those_who_wait_and_may_be_repeated() -> None:
    engine = FakeEngine()
    resolver = over(engine)
    task = asyncio.create_task(resolver.query("a.example", "A"))
    for _ in range(3):
        await asyncio.sleep(0)
    await resolver.close()
    assert (await task).status == "temperror"
    assert (engine.given_up, engine.closed) == (1, 1)
    await resolver.close()
    assert engine.closed == 1
    engine.answers["a.example", "A"] = GOOD
    assert (await resolver.query("a.example", "A")).ok  # opened again


async def test_closing_at_the_first_moment_is_no_accident() -> None:
    engine = FakeEngine()
    resolver = over(engine)
    task = asyncio.create_task(resolver.query("a.example", "A"))
    await asyncio.sleep(0)  # the question has a task, which has not begun
    await resolver.close()
    assert (await task).status == "temperror"


async def test_an_engine_does_not_cross_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[FakeEngine] = []

    def opened() -> FakeEngine:
        engines.append(FakeEngine())
        engines[-1].default = lambda name, kind: GOOD
        return engines[-1]

    resolver = CachingResolver(opened)
    await resolver.query("a.example", "A")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert (await resolver.query("b.example", "A")).ok
    assert len(engines) == 2
    assert engines[0].closed == 0
