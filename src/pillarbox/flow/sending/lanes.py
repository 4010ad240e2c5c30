"""The lanes of a run: opened while more parcels wait than lanes, as far as the destination and the worker bear it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from .lane import LaneRunner

if TYPE_CHECKING:
    from .run import Run


class Lanes:
    """Belongs to a run. A lane whose hop the route has left (`astray`) is not counted: it ends with its message."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lanes: set[LaneRunner] = set()
        self.resume_at = 0.0  # loop time before which none is opened, after trouble
        self.lacking = False  # other workers have those that it could use

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def too_many(self) -> bool:
        """Whether there are more than the destination bears, or another worker lacks one."""
        most = self._run.pace.lanes
        return (len(self._lanes) > most and self._at_work > most) or self._run.portion.over

    @property
    def _too_few(self) -> bool:
        most = self._run.pace.lanes
        return len(self._lanes) < most or self._at_work < most

    @property
    def _at_work(self) -> int:
        return sum(not lane.astray for lane in self._lanes)

    def open(self) -> None:
        """As many as there is work for and may be."""
        run, loop = self._run, self._run.parts.loop
        self.lacking = False
        while run.stock and run.sends and self._too_few and run.stock.short and loop.time() >= self.resume_at:
            place = run.portion.take()
            if place is None:
                self.lacking = True
                return
            slot = run.parts.slots.take(run.name, further=bool(self._lanes))
            if slot is None:
                place.give()
                return
            lane = LaneRunner(run, slot, place)
            self._lanes.add(lane)
            lane.start()
        run.portion.forgo()

    def ended(self, lane: LaneRunner) -> None:
        """It has."""
        self._lanes.discard(lane)
        self._run.poke()

    def talking(self, besides: LaneRunner) -> int:
        """Lanes that have a connection, without this one."""
        return sum(lane.connected for lane in self._lanes if lane is not besides)

    def recall(self, ids: Collection[int]) -> None:
        """See `Run.recall`."""
        for lane in tuple(self._lanes):
            lane.recall(ids)

    def cut(self) -> None:
        """Interrupt what they are at."""
        for lane in tuple(self._lanes):
            lane.cut()

    async def all_ended(self) -> None:
        while self._lanes:
            await asyncio.gather(*(lane.ended() for lane in tuple(self._lanes)), return_exceptions=True)
