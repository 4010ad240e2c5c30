"""An engine that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pillarbox.dns.answer import Answer, Kind


class FakeEngine:
    """`answers` by (name, kind); an exception is raised, a missing answer is never given. `asked` has all questions."""

    def __init__(
        self, answers: dict[tuple[str, Kind], Answer | BaseException] | None = None, name: str = "fake"
    ) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, Kind]] = []
        self.name = name
        self.validates = True
        self.closed = self.given_up = self.now = self.most = 0
        self.default: Callable[[str, Kind], Answer] | None = None
        self.gate: asyncio.Event | None = None

    async def ask(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.gate is not None:
                await self.gate.wait()
            found = self.answers.get((name, kind))
            if found is None and self.default is not None:
                found = self.default(name, kind)
            if found is None:
                await asyncio.Event().wait()
            if isinstance(found, BaseException):
                raise found
            assert found is not None
            return found
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.now -= 1

    async def close(self) -> None:
        self.closed += 1
