"""One process's word that its database is away: once when it is noticed, once when it is over, whoever meets it."""

from __future__ import annotations

import threading
import time

import structlog

from pillarbox.store.errors import Away

log = structlog.get_logger()


class Outage:
    """Threads share it."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._lock = threading.Lock()

    def met(self, error: Exception) -> Away:
        """The error to be raised: whoever gets it need not log it."""
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                log.warning("The database is away", error=str(error))
        return Away(str(error))

    def over(self) -> None:
        """Something went well."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                log.info("The database is back", seconds=round(time.monotonic() - self._since, 1))
                self._since = None
