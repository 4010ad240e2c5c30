"""The messages of a FETCH in pages: along the summaries of the store where these are worth it, else by the number."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from pillarbox.store.summaries import Place

WORTH = 4  # a summary is read when at least one of so many of its messages is wanted

Page = Sequence[int]
"""Indexes of messages, ascending; a range where they stand together."""


def pages(picks: Sequence[range], most: int) -> Iterator[Page]:
    """The picked indexes in pages of at most so many."""
    waiting: list[int] = []
    for pick in picks:
        for start in range(pick.start, pick.stop, most):
            part = range(start, min(start + most, pick.stop))
            if len(waiting) + len(part) > most:
                yield together(waiting)
                waiting = []
            waiting += part
    if waiting:
        yield together(waiting)


def along(
    picks: Sequence[range], uids: Sequence[int], places: Sequence[Place], most: int
) -> Iterator[tuple[Page, Place | None]]:
    """The picked indexes in pages, each with the summary that has (most of) its messages, if it is worth reading.

    Without one at most `most` are a page. `places` are those that have UIDs of picked messages, in their order.
    """
    others: list[range] = []
    at = 0
    for place in places:
        low = max(at, bisect_left(uids, place.first))
        high = max(low, bisect_right(uids, place.last))
        others += _between(picks, at, low)
        inside = _between(picks, low, high)
        at = high
        if sum(map(len, inside)) * WORTH < place.messages:
            others += inside
            continue
        for page in pages(others, most):
            yield page, None
        others = []
        yield inside[0] if len(inside) == 1 else together([index for part in inside for index in part]), place
    others += _between(picks, at, len(uids))
    for page in pages(others, most):
        yield page, None


def _between(picks: Sequence[range], low: int, high: int) -> list[range]:
    """What of the picked indexes is from `low` to below `high`."""
    found: list[range] = []
    first = bisect_right(picks, low, key=lambda pick: pick.stop)
    for number in range(first, len(picks)):
        pick = picks[number]
        if pick.start >= high:
            break
        found.append(range(max(pick.start, low), min(pick.stop, high)))
    return found


def together(page: list[int]) -> Page:
    """The same indexes (at least one), as a range if they stand together."""
    return range(page[0], page[-1] + 1) if page[-1] - page[0] + 1 == len(page) else page


def taken(column: Sequence[int], page: Page) -> Sequence[int]:
    """The values of a page's messages."""
    if isinstance(page, range):
        return column[page.start : page.stop]
    return [column[at] for at in page]
