"""Which engine answers, and when another takes its place; with engines of the test's own and an injected clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pillarbox.dns import opening
from pillarbox.dns.answer import Answer, Engine
from pillarbox.dns.opening import PATIENCE, UNVALIDATED, ChosenEngine, Ways, make_engine, open_resolver
from pillarbox.dns.servers import Server
from pillarbox.dns.unbound import UnboundError

sys.path.insert(0, str(Path(__file__).parent))
from fake_engine import FakeEngine

OK, SECURE = Answer("ok", ("x",), 60), Answer("ok", ("x",), 60, True)
DOWN, BOGUS = Answer("temperror", reason="down"), Answer("bogus", reason="validation failed")
HERE, THERE = Server("192.0.2.1"), Server("192.0.2.2")


class Validating(FakeEngine):
    """Stands in for libunbound: `root` is what becomes of a question for the root."""

    root = "ok"
    probes = 0

    async def root_status(self) -> str:
        self.probes += 1
        return self.root


class Stage:
    """The surroundings of a ChosenEngine: which engines are made, what resolv.conf says, what time it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ways: Ways = Ways(), answer: Answer = OK) -> None:  # noqa: B008
        monkeypatch.setattr(opening, "UnboundEngine", Validating)
        self.now, self.system, self.answer, self.root = 0.0, (HERE,), answer, "ok"
        self.made: list[tuple[str, FakeEngine, tuple[Server, ...]]] = []
        self.engine = ChosenEngine(ways, make=self.make, find_servers=lambda: self.system, clock=lambda: self.now)

    def make(self, ways: Ways, servers: Sequence[Server]) -> Engine:
        engine = FakeEngine(name="cares") if ways.choice == "cares" else Validating(name="unbound")
        engine.validates = ways.choice != "cares"
        engine.default = lambda name, kind: OK if engine.name == "cares" else self.answer
        if isinstance(engine, Validating):
            engine.root = self.root
        self.made.append((engine.name, engine, tuple(servers)))
        return engine

    async def ask(self, answer: Answer | None = None) -> Answer:
        self.answer = answer or self.answer
        return await self.engine.ask("a.example", "A")

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.made]


async def test_the_log_says_who_asks_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, Ways(servers=(HERE, Server("::1", 5353))))
    assert stage.engine.name == "unbound asking 192.0.2.1, ::1@5353"
    stage = Stage(monkeypatch, Ways("cares"))
    assert stage.engine.name == "cares asking 192.0.2.1, without DNSSEC validation"
    await stage.engine.close()


async def test_where_nothing_can_be_validated_answers_are_taken_as_they_come_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    stage.made[0][1].root = "bogus"  # type: ignore[attr-defined]
    assert (await stage.ask(BOGUS)).status == "ok"
    assert stage.names == ["unbound", "cares"]
    assert not stage.engine.validates
    stage.now = UNVALIDATED - 1
    assert (await stage.ask()).ok
    assert stage.names == ["unbound", "cares"]
    stage.now = UNVALIDATED
    assert (await stage.ask(SECURE)).secure
    assert stage.names == ["unbound", "cares", "unbound"]
    await stage.engine.close()
    assert all(engine.closed == 1 for _, engine, _ in stage.made)


async def test_a_bogus_answer_stays_bogus_where_the_root_can_be_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    assert (await stage.ask(BOGUS)).status == "bogus"
    assert stage.names == ["unbound"]
    await stage.engine.close()


async def test_validation_is_not_given_up_once_it_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever can forge answers could turn DANE off."""
    stage = Stage(monkeypatch)
    await stage.ask(SECURE)
    stage.made[0][1].root = "bogus"  # type: ignore[attr-defined]
    assert (await stage.ask(BOGUS)).status == "bogus"
    assert stage.made[0][1].probes == 0  # type: ignore[attr-defined]
    await stage.engine.close()


async def test_an_operator_s_choice_is_not_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, Ways("unbound"))
    stage.made[0][1].root = "bogus"  # type: ignore[attr-defined]
    assert (await stage.ask(BOGUS)).status == "bogus"
    assert stage.names == ["unbound"]
    await stage.engine.close()


async def test_after_a_while_of_failures_the_engine_is_opened_anew_with_the_servers_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    await stage.ask(OK)
    stage.now, stage.system = PATIENCE - 1, (THERE,)
    await stage.ask(DOWN)
    assert len(stage.made) == 1
    stage.now = PATIENCE
    assert (await stage.ask(DOWN)).failed
    assert [servers for _, _, servers in stage.made] == [(HERE,), (THERE,)]
    assert (await stage.ask(OK)).ok
    stage.now += PATIENCE - 1
    await stage.ask(DOWN)  # not at each failure
    assert len(stage.made) == 2
    await stage.engine.close()


async def test_one_domain_that_fails_among_good_ones_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    for _ in range(10):
        stage.now += PATIENCE / 2
        await stage.ask(OK)
        await stage.ask(DOWN)
    assert len(stage.made) == 1
    await stage.engine.close()


async def test_servers_that_were_named_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, Ways(servers=(HERE,)))
    stage.now, stage.system = PATIENCE, (THERE,)
    await stage.ask(DOWN)
    assert [servers for _, _, servers in stage.made] == [(HERE,), (HERE,)]
    await stage.engine.close()


def missing(*_: object, **__: object) -> Engine:
    raise OSError("libunbound.so.8: cannot open shared object file")


def unfit(*_: object, **__: object) -> Engine:
    raise UnboundError("trust anchor: syntax error")


@pytest.mark.parametrize("unbound", [missing, unfit])
async def test_without_libunbound_c_ares_takes_its_place(monkeypatch: pytest.MonkeyPatch, unbound: object) -> None:
    monkeypatch.setattr(opening, "UnboundEngine", unbound)
    engine = make_engine(Ways(), (HERE,))
    assert engine.name.startswith("c-ares")
    await engine.close()
    with pytest.raises((OSError, UnboundError)):
        make_engine(Ways("unbound"), (HERE,))


async def test_a_resolver_without_the_library_that_was_asked_for_answers_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "UnboundEngine", missing)
    resolver = open_resolver(engine="unbound", servers=["192.0.2.1"])
    assert (await resolver.query("a.example", "A")).status == "temperror"
    await resolver.close()


def test_servers_are_checked_at_once() -> None:
    with pytest.raises(ValueError):
        open_resolver(servers=["dns.example"])
