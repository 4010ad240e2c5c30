"""Answers that were given, for as long as they hold: a bounded memory by name and kind.

Time to live: what the records say, at most a day; of a denial what the zone's SOA says (RFC 2308 section 5), at most
three hours; of a failure a few seconds (section 7), so that a thousand messages for one dead domain ask once. What is
over is never given again: a mail can wait, and an old address or key may belong to somebody else by now.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec.structs import replace

from pillarbox.dns.answer import Answer, Kind

LONGEST = 86_400  # seconds
LONGEST_DENIAL = 10_800
FAILURE = 5

Key = tuple[str, Kind]


class AnswerCache:
    """`limit` is in bytes, as estimated; the answers that were not asked for the longest go first."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit, self._clock = limit, clock
        self._kept: OrderedDict[Key, tuple[Answer, float, int]] = OrderedDict()
        self.used = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Answer | None:
        """The answer with what is left of its time, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        answer, end, _ = found
        left = end - self._clock()
        if left <= 0:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return replace(answer, ttl=int(left))

    def put(self, key: Key, answer: Answer) -> Answer:
        """Keep an answer if it has a time to live; the answer with that time bounded."""
        self._drop(key)
        seconds = lifetime(answer)
        if seconds > 0:
            size = weight(key, answer)
            if size <= self._limit:
                self._kept[key] = answer, self._clock() + seconds, size
                self.used += size
                while self.used > self._limit:
                    self._drop(next(iter(self._kept)))
        return answer if answer.ttl == seconds else replace(answer, ttl=seconds)

    def clear(self) -> None:
        self._kept.clear()
        self.used = 0

    def _drop(self, key: Key) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.used -= gone[2]


def lifetime(answer: Answer) -> int:
    """Seconds for which an answer may be kept."""
    if answer.status == "ok":
        return min(answer.ttl, LONGEST)
    if answer.failed:
        return FAILURE
    return min(answer.ttl, LONGEST_DENIAL)


def weight(key: Key, answer: Answer) -> int:
    """About how many bytes of memory an answer takes, with its place in the cache."""
    size = 600 + 2 * len(key[0]) + len(answer.canonical) + len(answer.reason)
    for record in answer.records:
        size += 60
        for part in record if isinstance(record, tuple) else (record,):
            size += 60 + len(part) if isinstance(part, str | bytes) else 30
    return size
