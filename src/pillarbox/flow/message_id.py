"""The names by which messages go through the rooms, the log and the Received line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: sorts as the numbers do, nothing looks alike
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]


class MessageIds:
    """Gives ids of 14 characters that sort by time: 9 of milliseconds, 3 of this process, 2 of a counter.

    Unique among the workers that live at the same time (slot), across restarts within a millisecond (random), and
    within a process (the counter; the millisecond moves on when it is used up). Where other nodes give some too they
    have 17: three more, random, in the name of the process.
    """

    __slots__ = ("_clock", "_counter", "_millisecond", "_process", "_stamp")

    def __init__(self, slot: int = 0, clock: Callable[[], float] = time.time, *, among_nodes: bool = False) -> None:
        self._clock = clock
        self._process = _DIGITS[slot % 32] + _random_pair()
        if among_nodes:
            self._process += _random_pair() + _random_pair()[0]
        self._millisecond = 0
        self._counter = 0
        self._stamp = ""

    def __call__(self) -> str:
        now = int(self._clock() * 1000)
        if now > self._millisecond:
            self._millisecond, self._counter = now, 0
            self._stamp = _base32(now)
        elif self._counter == 1023:
            self._millisecond, self._counter = self._millisecond + 1, 0
            self._stamp = _base32(self._millisecond)
        else:
            self._counter += 1
        return self._stamp + self._process + _PAIRS[self._counter]


def _random_pair() -> str:
    return _PAIRS[int.from_bytes(os.urandom(2), "big") % 1024]


def _base32(number: int) -> str:
    return (
        _DIGITS[(number >> 40) & 31]
        + _PAIRS[(number >> 30) & 1023]
        + _PAIRS[(number >> 20) & 1023]
        + _PAIRS[(number >> 10) & 1023]
        + _PAIRS[number & 1023]
    )
