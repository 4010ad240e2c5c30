"""How many lanes a destination bears, learned from what it answers, and when it is left alone.

It begins with two lanes; as many successes as there are lanes allow one more, trouble halves them. After so many
failures to talk to it in a row the circuit is open: nobody connects for a while, then one lane tries. What a server
says of one recipient (greylisting, a full mailbox) is neither success nor trouble.
"""

from __future__ import annotations

from typing import Literal

from ..parcel import Outcome, Reply
from .policy import LONGEST_BLOCK

START = 2  # lanes
RELUCTANCE = 8  # times as many successes after the destination refused one more lane
_TALK = frozenset({"DNS", "CONNECT", "GREETING", "HELLO", "STARTTLS", "AUTH", "LOST", "TIMEOUT", "PROTOCOL"})

Feeling = Literal["good", "bad", "neutral"]


def feeling(outcomes: list[Outcome]) -> Feeling:
    """What the answers to one parcel say of the destination itself."""
    if any(outcome.result == "delivered" for outcome in outcomes):
        return "good"
    return "bad" if outcomes and all(is_trouble(outcome.reply) for outcome in outcomes) else "neutral"


def is_trouble(reply: Reply) -> bool:
    """Whether it could not, or would not, talk to us at all: nothing that another message would change."""
    if reply.code == 421 or reply.stage in _TALK:
        return True
    return reply.stage in ("MAIL", "DATA") and 400 <= reply.code < 500


class Pace:
    """Of one destination, while a worker has it. `most` lanes; times in epoch seconds."""

    def __init__(self, *, lanes: int, failures: int, most: int, threshold: int, timeout: int) -> None:
        """`lanes` and `failures` as the store has them from the last time."""
        self.most = max(1, most)
        self.failures = failures
        self._threshold = threshold
        self._timeout = timeout
        self.blocked_until: float | None = None
        self.lanes = 1 if self.probing else min(lanes or START, self.most)
        self._credit = 0.0
        self._price = 1.0

    @property
    def probing(self) -> bool:
        """The circuit is half open: one lane tries whether the destination is back."""
        return self.failures >= self._threshold

    @property
    def blocked(self) -> bool:
        return self.blocked_until is not None

    def bound(self, most: int) -> None:
        """So many lanes at most from now on."""
        self.most = max(1, most)
        self.lanes = min(self.lanes, self.most)

    def talked(self) -> bool:
        """It answered, whatever it said of a message; whether it is back from being left alone."""
        back = self.probing
        self.failures = 0
        self.blocked_until = None
        if back:
            self.lanes, self._credit = 1, 0.0
        return back

    def good(self) -> bool:
        """It took a message; whether it is back from being left alone."""
        back = self.talked()
        self._credit += 1
        if self._credit >= self.lanes * self._price and self.lanes < self.most:
            self.lanes += 1
            self._credit = 0.0
        return back

    def bad(self, now: float, chance: float) -> None:
        """It would not talk to us. `chance` in [0, 1) varies how long it is left alone."""
        self.failures += 1
        self.lanes = max(1, self.lanes // 2)
        self._credit = 0.0
        if self.failures >= self._threshold:
            doublings = min(self.failures - self._threshold, 20)
            pause = min(self._timeout << doublings, max(LONGEST_BLOCK, self._timeout))
            self.blocked_until = now + pause * (0.85 + 0.3 * chance)

    def refused_one_more(self, lanes: int) -> None:
        """It talks to us in `lanes` lanes and refused another."""
        self.lanes = max(1, min(self.lanes, lanes))
        self._credit, self._price = 0.0, RELUCTANCE
