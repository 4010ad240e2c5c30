"""How many made-up inputs a test with hypothesis plays: few in CI, `make models EXAMPLES=20` so many times as many."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("PILLARBOX_EXAMPLES", "1"))


def examples(number: int) -> int:
    """What CI plays, times `PILLARBOX_EXAMPLES`."""
    return number * TIMES


def stateful(number: int, steps: int) -> settings:
    """Settings of a state machine on a real store: so many runs of at most so many steps."""
    return settings(
        max_examples=examples(number),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
