"""When a message that was put off is tried again.

Age decides when it is given up; the schedule only says how long to wait between two tries.
"""

from __future__ import annotations

from typing import NamedTuple

JITTER = 0.15  # a delay is between 85 and 115 % of what the schedule says
LONGEST = 4 * 3600  # seconds, of a schedule that doubles


class RetrySchedule(NamedTuple):
    """`steps`: seconds after the first failed try, the second and so on; the last one stays."""

    steps: tuple[int, ...]

    def delay(self, tries: int, chance: float) -> int:
        """Seconds to wait after `tries` failed tries (from 1 on). `chance` in [0, 1) varies it."""
        step = self.steps[min(max(tries, 1), len(self.steps)) - 1]
        return max(1, round(step * (1 - JITTER + 2 * JITTER * chance)))

    def length(self, lifetime: int) -> int:
        """Tries after the first one that fit into `lifetime` seconds: what `max_retries` reports."""
        tries, age = 0, 0
        for step in self.steps:
            age += step
            if age > lifetime:
                return tries
            tries += 1
        return tries + (lifetime - age) // max(1, self.steps[-1])


def doubling(first: int) -> RetrySchedule:
    """From `first` seconds on, twice as long each time."""
    steps = [max(1, first)]
    while steps[-1] < LONGEST:
        steps.append(min(steps[-1] * 2, LONGEST))
    return RetrySchedule(tuple(steps))
