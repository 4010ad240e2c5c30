"""What a run may have of its destination's lanes, beside the workers that send there too.

Each has a part that is his at any time, and may use what the others leave of theirs. Lanes are counted in the ledger.
Who has less than his part counts the lane that he lacks, and waits for it: whoever has more than his part sees that
there are too many, and gives one back after the message it is at. So the limit holds for all together, nobody waits
longer than a message takes, and the lanes of a worker that died are free once its slot is cleared.
"""

from __future__ import annotations

from msgspec import json

from pillarbox.access.ledger import Slot
from pillarbox.access.tally import Tally

from ..parcel import Hop

_LANE = b"lane"


class Portion:
    """Of one run. `part` lanes are ours at any time, of `most` in all."""

    def __init__(self, counters: Slot) -> None:
        self._tally = Tally(counters, _LANE)
        self._key = 0
        self._asked: Place | None = None
        self.part = self.most = 0
        self.held: dict[int, int] = {}  # places, by what they are counted as
        self.closing: dict[int, int] = {}  # those of them whose lane ends

    def follow(self, hop: Hop, part: int, most: int) -> None:
        """From now on lanes lead to this hop; those to another are not counted with them."""
        self._key = key = self._tally.key(json.encode(hop))
        self.held.setdefault(key, 0)
        self.closing.setdefault(key, 0)
        self.part, self.most = part, most

    def take(self) -> Place | None:
        """The place of one more lane; None when there is none now. Within our part it is waited for, until `forgo`."""
        key = self._key
        if self._asked is not None and self._asked.key != key:
            self.forgo()
        if self._asked is None:
            # One of ours that just ends is free in a moment: nobody needs to give his for it.
            alone = self._ours >= self.part or self.closing[key] > 0
            if alone and self._tally.total(key) >= self.most:
                return None
            self._asked = Place(self, self._tally, key)
        place, beyond = self._asked, self._ours > self.part
        free = self._tally.total(key) <= self.most if place.counted else not beyond
        if free:
            self._asked = None
            return place
        if beyond:
            self.forgo()
        return None

    @property
    def waits(self) -> bool:
        """Whether a place is waited for."""
        return self._asked is not None

    def forgo(self) -> None:
        """No more is wanted for now."""
        if self._asked is not None:
            self._asked.give()
            self._asked = None

    @property
    def over(self) -> bool:
        """Whether a lane is to be given back, since another worker lacks it."""
        if self._ours <= self.part:
            return False
        return self._tally.total(self._key) - self.closing[self._key] > self.most

    @property
    def _ours(self) -> int:
        return self.held[self._key] - self.closing[self._key]


class Place:
    """One lane's. `counted`: the ledger had room for it."""

    __slots__ = ("_closing", "_portion", "_tally", "counted", "key")

    def __init__(self, portion: Portion, tally: Tally, key: int) -> None:
        self._portion = portion
        self._tally = tally
        self._closing = False
        self.key = key
        self.counted = tally.add(key)
        portion.held[key] += 1

    def close(self) -> None:
        """The lane ends, and still has its connection."""
        if not self._closing:
            self._closing = True
            self._portion.closing[self.key] += 1

    def give(self) -> None:
        """There is no connection any more. To be called once."""
        if self.counted:
            self._tally.remove(self.key)
        self._portion.held[self.key] -= 1
        if self._closing:
            self._portion.closing[self.key] -= 1
