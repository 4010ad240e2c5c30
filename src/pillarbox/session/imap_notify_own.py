"""Which changes of an account a session made itself: it is not told of them (RFC 5465 section 5).

A write of the session is known by the numbers that it drew. News that came of these numbers alone are its own; where
somebody else had a part in them they are told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pillarbox.store import Tx, folders

T = TypeVar("T")

MOST = 100  # writes that are remembered

Numbers = Mapping[int, tuple[int, int]]  # account -> its numbers before and after


class OwnWrites:
    """Spans of numbers by account, the last ones; those of an account ascend."""

    __slots__ = ("_latest", "_spans")

    def __init__(self) -> None:
        self._spans: deque[tuple[int, int, int]] = deque(maxlen=MOST)
        self._latest: dict[int, int] = {}  # the last number of each account

    def note(self, numbers: Numbers) -> None:
        for account, (before, after) in numbers.items():
            if before < after:
                self._spans.append((account, before, after))
                self._latest[account] = after

    def cover(self, account: int, since: int, until: int) -> bool:
        """Every number over `since` up to `until` was drawn by this session."""
        if until > self._latest.get(account, -1):
            return False
        at = since
        for owner, before, after in self._spans:
            if owner == account and before <= at < after:
                at = after
        return since < until <= at


def numbered(
    tx: Tx, accounts: Sequence[int], fn: Callable[..., T], args: Sequence[Any], kw: Mapping[str, Any]
) -> tuple[T, Numbers]:
    """A store function around another: its value, and which numbers of these accounts it drew."""
    tx.lock(accounts)  # so that nobody else draws in between
    before = folders.numbers(tx, accounts)
    value = fn(tx, *args, **kw)
    after = folders.numbers(tx, accounts)
    return value, {account: (before[account], number) for account, number in after.items() if account in before}
