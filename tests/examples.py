"""How many made-up inputs a test with hypothesis plays: few in CI, `make models EXAMPLES=20` so many times as many."""

import os

TIMES = int(os.environ.get("PILLARBOX_EXAMPLES", "1"))


def examples(number: int) -> int:
    """What CI plays, times `PILLARBOX_EXAMPLES`."""
    return number * TIMES
