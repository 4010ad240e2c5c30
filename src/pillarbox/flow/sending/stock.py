"""What a run has in hand: parcels that wait for lanes, lanes that wait for parcels, rows until they are settled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pillarbox.store.records import QueuedMessage

from .batch import MOST_RECIPIENTS, Load, loads
from .parts import Held

if TYPE_CHECKING:
    from .lane import LaneRunner


class Stock:
    """`rows` were claimed and are not settled: by id the loop time of the claim. `tail`: those of the last message, no
    parcel yet while more of its recipients may be claimed. `idle`: lanes that wait."""

    def __init__(self, held: Held, loop: asyncio.AbstractEventLoop) -> None:
        self.rows: dict[int, float] = {}
        self.tail: list[QueuedMessage] = []
        self.idle: list[LaneRunner] = []
        self._held = held
        self._loop = loop
        self._ready: deque[Load] = deque()
        self._octets: dict[int, int] = {}  # of content that is at hand, by the first row of its parcel

    def __len__(self) -> int:
        """Parcels that wait."""
        return len(self._ready)

    @property
    def short(self) -> bool:
        """Whether there are more parcels than lanes that wait for one."""
        return len(self._ready) > len(self.idle)

    def begin(self, row_id: int) -> None:
        """It is our claim since this moment."""
        self.rows[row_id] = self._loop.time()

    def forget(self, row_id: int) -> None:
        """It is settled, or somebody else's."""
        self.rows.pop(row_id, None)
        self._held.release(self._octets.pop(row_id, 0))

    def forget_all(self) -> None:
        for row_id in tuple(self.rows):
            self.forget(row_id)

    def add(self, rows: Sequence[QueuedMessage], *, more: bool) -> None:
        """Parcels of what was claimed, behind all others: in the order of the claims. The last message waits for its
        other recipients when `more` is due."""
        made = loads([*self.tail, *rows])
        self.tail = []
        if made and more and len(made[-1].rows) < MOST_RECIPIENTS:
            self.tail = list(made.pop().rows)
        self._ready.extend(made)
        self.call()

    def add_by_priority(self, load: Load, content: bytes | None) -> None:
        """Behind those of its priority or a higher one. `content` is kept with it when there is room."""
        if content is not None and self._held.take(len(content)):
            self._octets[load.rows[0].id] = len(content)
            load = load.having(content)
        at = len(self._ready)
        while at and self._ready[at - 1].parcel.priority < load.parcel.priority:
            at -= 1
        self._ready.insert(at, load)
        self.call()

    def put_back(self, load: Load) -> None:
        """It is the first in line again."""
        self._ready.appendleft(load)
        self.call()

    def take(self) -> Load | None:
        """The first in line."""
        return self._ready.popleft() if self._ready else None

    def withdraw(self, ids: Collection[int]) -> list[QueuedMessage]:
        """Rows that wait and are not to be sent any more."""
        gone: list[QueuedMessage] = []
        kept: list[Load] = []
        for waiting in self._ready:
            without = waiting.without(ids)
            if without is not waiting:
                gone += [row for row in waiting.rows if row.id in ids]
            if without is not None:
                kept.append(without)
        if gone:
            self._ready = deque(kept)
        gone += [row for row in self.tail if row.id in ids]
        self.tail = [row for row in self.tail if row.id not in ids]
        return gone

    def take_all(self) -> list[Load]:
        """What waits, the last message too."""
        taken = [*self._ready, *loads(self.tail)]
        self._ready.clear()
        self.tail = []
        return taken

    def call(self) -> None:
        """As many lanes as there are parcels; those that have waited least, so that the ones too many can close."""
        if self._ready:
            for lane in self.idle[-len(self._ready) :]:
                lane.call()

    def call_all(self) -> None:
        """Lanes look whether waiting has a use."""
        for lane in self.idle:
            lane.call()
