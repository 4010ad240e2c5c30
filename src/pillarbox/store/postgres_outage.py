"""One process's word that its database cannot be used: once when it begins, once when it is over, whoever meets it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from pillarbox.store.errors import Away

log = structlog.get_logger()

QUIET = 10.0  # seconds in which nothing fails until it is over: one that gives too few connections fails now and then


class Outage:
    """Threads share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._last = 0.0
        self._lock = threading.Lock()

    def met(self, error: Exception) -> Away:
        """The error to be raised: whoever gets it need not log it."""
        with self._lock:
            self._last = self._clock()
            if self._began is None:
                self._began = self._last
                log.warning("The database cannot be used", error=str(error))
        return Away(str(error))

    def well(self) -> None:
        """Something could be done."""
        if self._began is None:
            return
        with self._lock:
            if self._began is not None and self._clock() - self._last >= QUIET:
                log.info("The database can be used again", seconds=round(self._last - self._began, 1))
                self._began = None
