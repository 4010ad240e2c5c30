"""As many workers as there should be: one that dies is replaced, at once or, when it keeps dying, after a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pillarbox.access.ledger import Field

from .crew import Backoff, NoSlot, Worker

if TYPE_CHECKING:
    from .supervisor import Supervisor

log = structlog.get_logger()

START_TRIES = 3  # deaths at start that end a server which was never ready
AGAIN = 1.0  # seconds until a worker that could not be forked is tried again


class Staff:
    """`left` counts the connections that workers had to cut at their end."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.left = 0
        self._supervisor = supervisor
        self._vacant: list[tuple[float, int, int]] = []  # when, generation, index: workers to be started
        self._backoff = Backoff()

    def hire(self, generation: int, index: int) -> None:
        """Start a worker, now or as soon as that can be."""
        ours = self._supervisor
        try:
            someone = ours.crew.hire(generation, index)
        except (NoSlot, OSError) as error:
            log.error("No worker can be started now", worker=index, error=str(error) or "no slot is free")
            self._vacant.append((ours.clock() + AGAIN, generation, index))
            return
        ours.listen_to(someone)
        log.debug("Worker started", worker=index, pid=someone.pid, generation=generation)

    def look_after(self) -> None:
        """Notice who has ended, end who is too late, and start who is due."""
        ours = self._supervisor
        watched = {worker: worker.orders.fileno() for worker in ours.crew.workers}
        gone = ours.crew.reap()
        for someone, _ in gone:  # all of them before a new one gets one of their descriptors
            ours.unwatch(watched[someone])
        for someone, how in gone:
            self._ended(someone, how)
        ours.crew.kill_late()
        now = ours.clock()
        due = [vacancy for vacancy in self._vacant if vacancy[0] <= now]
        self._vacant = [vacancy for vacancy in self._vacant if vacancy[0] > now]
        for _, generation, index in due:
            if not ours.stopping and generation in self._living_generations():
                self.hire(generation, index)

    def due(self) -> list[float]:
        """Moments of the supervisor's clock at which there is something to do."""
        crew = self._supervisor.crew
        return [when for when, _, _ in self._vacant] + [w.deadline for w in crew.workers if w.asked]

    def hire_no_more(self) -> None:
        self._vacant.clear()

    def _living_generations(self) -> set[int]:
        coming = self._supervisor.renewal.coming
        return {self._supervisor.generation} | ({coming.generation} if coming else set())

    def _ended(self, someone: Worker, how: str) -> None:
        ours = self._supervisor
        if someone.asked:
            self.left += someone.left
            log.debug("Worker ended", worker=someone.index, pid=someone.pid, how=how)
            return
        ours.own.add(Field.WORKERS_DIED)
        reason = {"reason": someone.failure} if someone.failure else {}
        log.error("Worker died", worker=someone.index, pid=someone.pid, how=how, **reason)
        if ours.stopping:
            return
        if someone.generation != ours.generation:
            ours.renewal.abandon(f"a new worker died ({someone.failure or how})")
            return
        served = None if someone.ready_since is None else ours.clock() - someone.ready_since
        wait = self._backoff.died(someone.index, served=served)
        if not ours.was_ready and self._backoff.deaths(someone.index) >= START_TRIES:
            log.critical("The workers cannot start", **reason)
            ours.give_up()
        elif wait:
            log.warning(f"Worker {someone.index} is started again in {wait:.1f} s")
            self._vacant.append((ours.clock() + wait, someone.generation, someone.index))
        else:
            self.hire(someone.generation, someone.index)
