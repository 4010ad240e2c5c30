"""Partial ranges (RFC 9394): a part of a result, counted from its beginning or from its end."""

from __future__ import annotations

from pillarbox.imap.syntax import BadSyntax, Cursor

_MOST = 0xFFFFFFFF  # nz-number


def partial_range(cursor: Cursor) -> tuple[int, int]:
    """`1:500` or `-1:-500`: the ends as they are written (RFC 9394 section 3.1)."""
    negative = cursor.peek(b"-")
    ends = []
    for separator in (b":", b""):
        if cursor.skip(b"-") != negative:
            raise BadSyntax("a partial range counts from one side only, RFC 9394 section 4")
        number = cursor.number(_MOST, "a position")
        if not number:
            raise BadSyntax("positions begin at 1")
        ends.append(-number if negative else number)
        if separator:
            cursor.expect(separator, "a colon between two positions")
    return ends[0], ends[1]


def positions(partial: tuple[int, int], size: int) -> range:
    """Which indexes (from 0) of `size` results a partial range names."""
    low, high = sorted(map(abs, partial))
    if partial[0] < 0:
        return range(max(0, size - high), max(0, size - low + 1))
    return range(min(low - 1, size), min(high, size))
