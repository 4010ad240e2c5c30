"""What the supervisor looks at once a second: maintenance, workers that hang, the certificate's end, the watchdog."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from pillarbox.access.ledger import Field, Slot
from pillarbox.config import Settings

from . import certificates
from .certificates import KeyPair
from .crew import Worker
from .notify import Notifier

log = structlog.get_logger()

HUNG = 120.0  # seconds without a beat of its loop after which a worker is killed
UNHEALTHY = 30.0  # seconds without a beat after which systemd's watchdog is not told that we are well
MAINTENANCE_FILE = "maintenance"  # in the runtime folder: while it is there, new SMTP connections get 421


class Lookout:
    """`own` is the supervisor's slot; `clock` is monotonic seconds, the clock of the workers' beats."""

    def __init__(self, own: Slot, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._notifier = notifier
        self._clock = clock
        self._next_beat = 0.0
        self._warned = ("", -1)  # about which certificate, on which day

    def look(self, settings: Settings, pair: KeyPair | None, workers: Iterable[Worker]) -> None:
        self._maintenance(settings)
        self._certificate(pair)
        well = [self._is_well(someone) for someone in workers]  # each is looked at
        if self._notifier.watchdog and all(well) and self._clock() >= self._next_beat:
            self._next_beat = self._clock() + max(0.5, self._notifier.watchdog / 2 - 1.0)
            self._notifier.alive()

    def _maintenance(self, settings: Settings) -> None:
        asked = settings.maintenance or Path(settings.runtime_dir, MAINTENANCE_FILE).exists()
        if asked != bool(self._own.get(Field.MAINTENANCE)):
            self._own.set(Field.MAINTENANCE, int(asked))
            log.warning("Maintenance mode: new SMTP connections get 421" if asked else "Maintenance mode is over")

    def _is_well(self, someone: Worker) -> bool:
        """Whether its loop has shown a beat lately; it is killed when that is too long ago."""
        if not someone.ready:
            return True  # the supervisor waits for that elsewhere
        ledger = someone.counts or self._own.ledger
        beat = ledger.value(someone.slot, Field.HEARTBEAT_MS)
        if not beat and someone.counts:
            return True  # another program's, that does not say so
        silent = self._clock() - beat / 1000
        if silent > HUNG and not someone.asked:
            log.error("Worker hangs and is killed", worker=someone.index, pid=someone.pid, seconds=int(silent))
            with suppress(ProcessLookupError):
                os.kill(someone.pid, signal.SIGKILL)
        return silent < UNHEALTHY

    def _certificate(self, pair: KeyPair | None) -> None:
        """Say once a day that the certificate ends soon."""
        self._own.set(Field.CERTIFICATE_ENDS, pair.not_after if pair else 0)
        if pair is None:
            return
        now = time.time()
        about = (repr(pair), int(now) // certificates.DAY)
        if about == self._warned:
            return
        self._warned = about
        left = certificates.days_left(pair.not_after, now)
        if left < 0:
            log.error("The TLS certificate has ended", names=", ".join(pair.names))
        elif left < certificates.WARN_DAYS:
            log.warning(f"The TLS certificate ends in {left} days", names=", ".join(pair.names))
