"""When a session of a worker that was replaced is asked to leave: not all at once, and no short one notices."""

from __future__ import annotations

import random

SOONEST, LATEST = 10.0, 120.0  # seconds


def later() -> float:
    """Seconds until it is this session's turn."""
    return random.uniform(SOONEST, LATEST)
