"""What the operator's settings say about sending, in the form the scheduler asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pillarbox.config import Settings
from pillarbox.config.kinds import seconds_of

from .retry_schedule import RetrySchedule, doubling

LONGEST_BLOCK = 1800  # seconds that a destination is left alone at most
SLOW_SHARE = 3  # slow connections for each ordinary one


class Policy(NamedTuple):
    """Times in seconds. `tries` after the first one end a message before its age does; None: age alone decides."""

    hostname: str
    batch: int  # rows taken at once for one destination
    flush_interval: float
    schedule: RetrySchedule
    tries: int | None
    lifetime: int
    report_lifetime: int  # of messages with the null sender
    delay_report_after: int  # 0: never
    connections: int  # of a worker
    destination_connections: int
    breaker_threshold: int
    breaker_timeout: int

    def lifetime_of(self, sender: str) -> int:
        return self.lifetime if sender else self.report_lifetime

    def retries_of(self, sender: str) -> int:
        """Tries after the first one that a message gets: what `max_retries` tells people."""
        fitting = self.schedule.length(self.lifetime_of(sender))
        return fitting if self.tries is None else min(fitting, self.tries)


def policy(settings: Settings) -> Policy:
    """The policy in force; asked anew for each batch, since a reload replaces the settings."""
    schedule = RetrySchedule(tuple(seconds_of(settings.retry_schedule)))
    if settings.explicit("SMTP_RETRY_DELAY_SECONDS") and not settings.explicit("SMTP_RETRY_SCHEDULE"):
        schedule = doubling(settings.retry_delay_seconds)
    return Policy(
        hostname=settings.hostname,
        batch=settings.queue_batch_size,
        flush_interval=settings.queue_flush_interval_ms / 1000,
        schedule=schedule,
        tries=settings.max_retry_attempts if settings.explicit("SMTP_MAX_RETRY_ATTEMPTS") else None,
        lifetime=settings.queue_lifetime,
        report_lifetime=settings.report_lifetime,
        delay_report_after=settings.delay_report_after,
        connections=settings.queue_connections,
        destination_connections=settings.destination_connections,
        breaker_threshold=settings.circuit_breaker_threshold,
        breaker_timeout=settings.circuit_breaker_timeout_seconds,
    )


def policy_of(settings: Callable[[], Settings]) -> Callable[[], Policy]:
    """Gives the policy in force, made anew only when the settings are others."""
    known: tuple[Settings, Policy] | None = None

    def of_now() -> Policy:
        nonlocal known
        now = settings()
        if known is None or known[0] is not now:
            known = (now, policy(now))
        return known[1]

    return of_now
