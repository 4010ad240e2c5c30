"""Sequence sets (RFC 9051 section 9, `sequence-set`): kept as ranges, resolved against what the session holds.

`1:4294967295`, `*` and thousands of numbers cost what their text costs, never what they span. `*` stays symbolic until
`resolve_*` knows the mailbox, and `$` (SEARCHRES, RFC 5182) is only noted in `saved`: the session adds the result.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

MAX_NUMBER = 0xFFFFFFFF  # nz-number, 32 bits
STAR = MAX_NUMBER + 1  # `*`, greater than any number so that ranges sort

_SET = re.compile(
    rb"(?:(?:[0-9]{1,10}|\*)(?::(?:[0-9]{1,10}|\*))?,)*(?:(?:[0-9]{1,10}|\*)(?::(?:[0-9]{1,10}|\*))?|\$)\Z"
)
_ONE = re.compile(rb"([1-9][0-9]{0,8})(?::(?:([1-9][0-9]{0,8})|(\*)))?\Z")

Ranges = tuple[tuple[int, int], ...]


class SequenceSet:
    """Sorted, disjoint ranges (low, high), both ends included; `STAR` stands for `*`. Immutable by convention."""

    __slots__ = ("ranges", "saved")

    def __init__(self, ranges: Ranges, *, saved: bool = False) -> None:
        self.ranges = ranges
        self.saved = saved  # `$` is part of the set

    @classmethod
    def of(cls, numbers: Iterable[int]) -> SequenceSet:
        """The set of these numbers."""
        return cls(_merge([(number, number) for number in numbers]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SequenceSet) and self.ranges == other.ranges and self.saved == other.saved

    def __hash__(self) -> int:
        return hash((self.ranges, self.saved))

    def __repr__(self) -> str:
        return f"SequenceSet({render_ranges(self.ranges)!r}, saved={self.saved})"

    def __contains__(self, number: int) -> bool:
        """Is the number in the set, `*` taken as endless (`5:*` holds 7)."""
        at = bisect_right(self.ranges, (number, STAR)) - 1
        return at >= 0 and self.ranges[at][1] >= number

    @property
    def star(self) -> bool:
        """Does `*` occur."""
        return bool(self.ranges) and self.ranges[-1][1] == STAR

    def largest(self) -> int:
        """The largest number named, `*` not counted; 0 when there is none. Over EXISTS it is a client's error."""
        for low, high in reversed(self.ranges):
            if high != STAR:
                return high
            if low != STAR:
                return low
        return 0

    def limit(self, last: int) -> Ranges:
        """The ranges with `*` taken as `last` (the largest number in use), cut to 1..last.

        `7:*` with last 5 is 5: the last message is always in a range that ends in `*` (RFC 9051 section 9).
        """
        ranges: list[tuple[int, int]] = []
        if last < 1:
            return ()
        for low, high in self.ranges:
            if high == STAR:
                ranges.append((min(low, last), last))
            elif low <= last:
                ranges.append((low, min(high, last)))
        return _merge(ranges) if len(ranges) > 1 else tuple(ranges)

    def resolve_numbers(self, count: int) -> list[range]:
        """Message numbers -> indexes (from 0) into the session's arrays, ascending; numbers over `count` drop out."""
        return [range(low - 1, high) for low, high in self.limit(count)]

    def resolve_uids(self, uids: Sequence[int]) -> list[range]:
        """UIDs -> indexes into `uids`, which ascend; what does not exist drops out. O(ranges x log messages)."""
        if not uids:
            return []
        found: list[range] = []
        at = 0
        for low, high in self.limit(uids[-1]):
            start = bisect_left(uids, low, at)
            at = bisect_right(uids, high, start)
            if start < at:
                if found and found[-1].stop == start:
                    found[-1] = range(found[-1].start, at)
                else:
                    found.append(range(start, at))
        return found


def parse(text: bytes) -> SequenceSet | None:
    """A sequence set from its text, or None when it is none (0, over 32 bits, stray characters)."""
    simple = _ONE.match(text)
    if simple:
        first, second, star = simple.groups()
        low = int(first)
        if star:
            return SequenceSet(((low, STAR),))
        if second is None:
            return SequenceSet(((low, low),))
        high = int(second)
        return SequenceSet(((low, high) if low <= high else (high, low),))
    if not _SET.match(text):
        return None
    ranges: list[tuple[int, int]] = []
    saved = False
    for element in text.split(b","):
        if element == b"$":
            saved = True
            continue
        head, colon, tail = element.partition(b":")
        low = STAR if head == b"*" else int(head)
        high = (STAR if tail == b"*" else int(tail)) if colon else low
        if not low or not high or (low > MAX_NUMBER and head != b"*") or (high > MAX_NUMBER and (tail or head) != b"*"):
            return None
        ranges.append((low, high) if low <= high else (high, low))
    return SequenceSet(_merge(ranges), saved=saved)


def _merge(ranges: list[tuple[int, int]]) -> Ranges:
    if len(ranges) < 2:
        return tuple(ranges)
    ranges.sort()
    merged: list[tuple[int, int]] = []
    low, high = ranges[0]
    for start, end in ranges:
        # `*` is no neighbour of the largest number: `4294967295,*` is two elements only in theory, but stays right.
        if start <= high or (start == high + 1 and start != STAR):
            high = max(high, end)
        else:
            merged.append((low, high))
            low, high = start, end
    merged.append((low, high))
    return tuple(merged)


def render_ranges(ranges: Iterable[tuple[int, int]]) -> bytes:
    """`1,3:5,7:*` of ranges."""
    return b",".join(_number(low) if low == high else b"%b:%b" % (_number(low), _number(high)) for low, high in ranges)


def _number(number: int) -> bytes:
    return b"*" if number == STAR else b"%d" % number


def compact(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers without repeats -> ranges. Long runs are found by galloping, not by counting."""
    ranges: list[tuple[int, int]] = []
    at, size = 0, len(numbers)
    while at < size:
        first = numbers[at]
        good, step = at, 1
        while good + step < size and numbers[good + step] - first == good + step - at:
            good += step
            step *= 2
        while step > 1:
            step //= 2
            if good + step < size and numbers[good + step] - first == good + step - at:
                good += step
        ranges.append((first, numbers[good]))
        at = good + 1
    return ranges


def render_numbers(numbers: Sequence[int]) -> bytes:
    """Ascending numbers without repeats as a set, in as few characters as ranges allow: `1:4,7`."""
    if len(numbers) == 1:
        return b"%d" % numbers[0]
    return render_ranges(compact(numbers))
