"""The lanes of one worker, all destinations together: an ordinary part, and one for those that are slow.

A destination's first lane may take any ordinary slot, further ones leave a quarter free for destinations that have none
yet. A lane that has waited long for its server moves to the slow part, and for a while its destination begins there:
however many tarpits there are, they soon hold none of the ordinary slots.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .policy import SLOW_SHARE

REMEMBERED = 1800.0  # seconds
MOST_REMEMBERED = 10_000  # destinations


class Slots:
    """`limit` of ordinary slots is asked each time, since a reload changes it. `freed` is called when one came free."""

    def __init__(self, limit: Callable[[], int], clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self.freed: Callable[[], None] = lambda: None
        self._slow_until: OrderedDict[str, float] = OrderedDict()
        self.ordinary = 0
        self.slow = 0

    @property
    def limit(self) -> int:
        return self._limit()

    @property
    def free(self) -> int:
        """Ordinary slots that a destination without a lane may take."""
        return max(0, self._limit() - self.ordinary)

    @property
    def pressed(self) -> bool:
        """Whether who holds a slot without using it should give it up."""
        return self.ordinary * 2 > self._limit()

    def take(self, destination: str, *, further: bool) -> Slot | None:
        """A slot for a lane; None when there is none now. `further`: the destination has one already."""
        limit = self._limit()
        if self.is_slow(destination):
            if self.slow >= (limit if further else limit * SLOW_SHARE):
                return None
            self.slow += 1
            return Slot(self, destination, slow=True)
        if self.ordinary >= (limit - limit // 4 if further else limit):
            return None
        self.ordinary += 1
        return Slot(self, destination, slow=False)

    def is_slow(self, destination: str) -> bool:
        until = self._slow_until.get(destination)
        return until is not None and until > self._clock()

    def note_slow(self, destination: str) -> None:
        self._slow_until[destination] = self._clock() + REMEMBERED
        self._slow_until.move_to_end(destination)
        if len(self._slow_until) > MOST_REMEMBERED:
            self._slow_until.popitem(last=False)

    def forget(self, destination: str) -> None:
        """It was quick again."""
        self._slow_until.pop(destination, None)

    def moved(self) -> bool:
        """One ordinary slot becomes a slow one; False when there are too many of those, whatever remembers them."""
        if self.slow >= self._limit() * SLOW_SHARE * 3:
            return False
        self.ordinary -= 1
        self.slow += 1
        self.freed()
        return True

    def given(self, *, slow: bool) -> None:
        if slow:
            self.slow -= 1
        else:
            self.ordinary -= 1
        self.freed()


class Slot:
    """One lane's place. Given back once."""

    __slots__ = ("_destination", "_slots", "slow")

    def __init__(self, slots: Slots, destination: str, *, slow: bool) -> None:
        self._slots = slots
        self._destination = destination
        self.slow = slow

    def too_long(self) -> None:
        """The lane's server keeps it waiting."""
        self._slots.note_slow(self._destination)
        if not self.slow and self._slots.moved():
            self.slow = True

    def give(self) -> None:
        self._slots.given(slow=self.slow)
