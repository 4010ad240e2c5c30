"""What SIGUSR2 does: the program that lies where this one was started from takes its place, and nobody notices.

The new program first runs as a trial in a child (`trial`), on the same sockets. If it is ready, this process hands all
that it has to it by `execve`, so that the pid stays, and the workers find their supervisor again (`succession`). If it
is not, for whatever reason, nothing has changed and the reason is in the log and for `pillarbox upgrade`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import msgspec
import structlog

from pillarbox import __version__, cores

from . import control, reload, signals
from .children import ended
from .inheritance import TRIAL_OPTION, VARIABLE, Counting, Handed, Left, Word, keep_open, write
from .program import Program
from .standing import Attempt
from .subreaper import adopt_orphans

if TYPE_CHECKING:
    from .supervisor import Supervisor

log = structlog.get_logger()

PATIENCE = 60.0  # seconds for the new program to say that it has begun
LAST_WORDS = 20  # lines of what it printed before that, which are kept
LONGEST = 1 << 18  # octets of one message of it
LONGEST_STEP = 86_400.0  # seconds


def longest(asked: float) -> float:
    """Seconds that a step may take, of those that the new program asked for."""
    return min(max(asked, 0.0), LONGEST_STEP)


class Process:
    """A trial: its pid, and what it has said so far."""

    def __init__(self, pid: int, report: socket.socket, output: int, deadline: float) -> None:
        self.pid = pid
        self.report = report
        self.output = output
        self.deadline = deadline
        self.printed = b""
        self.ready: Word | None = None
        self.descriptors: list[int] = []
        self.ended = ""  # how; "" while it runs

    @property
    def complete(self) -> bool:
        return self.ready is not None and len(self.descriptors) == len(self.ready.descriptors)


class Upgrade:
    """The supervisor's upgrades: at most one at a time. `attempt` is the last that was asked for."""

    def __init__(self, supervisor: Supervisor, program: Program | None) -> None:
        self.attempt: Attempt | None = None
        self._number = 0
        self._supervisor = supervisor
        self._program = program
        self._wanted = 0.0  # until when room is waited for
        self._process: Process | None = None
        self._leaving = 0  # the process group of one that failed
        self._reload = False  # asked for meanwhile

    @property
    def under_way(self) -> bool:
        return self._process is not None or self._wanted > 0

    @property
    def leaving(self) -> bool:
        """Processes of one that failed are still there."""
        return self._leaving > 0

    def begin(self) -> None:
        """SIGUSR2 has come."""
        ours = self._supervisor
        if self.under_way:
            log.warning("An upgrade is under way already")
            return
        self._number += 1
        self._tell("running", "starting the new program")
        log.info("=== Upgrade Started ===", program=str(self._program), version=__version__)
        if self._program is None:
            self._fail("this server was not started by a command that could be started again")
        elif not ours.was_ready:
            self._fail("the server is only just starting")
        else:
            ours.notifier.reloading("Upgrading")
            ours.renewal.abandon("an upgrade came")
            self._wanted = ours.clock() + PATIENCE
            self.check()

    def succeeded(self, left: Left) -> None:
        """This process has just become the program that `left` was for."""
        self._number = left.number
        self.attempt = Attempt(number=left.number, state="done", before=left.version)
        self._supervisor.say_standing()

    def reload_later(self) -> None:
        """SIGHUP has come while an upgrade is under way."""
        log.info("The settings are loaded again when the upgrade has ended")
        self._reload = True

    def check(self) -> None:
        """Start it when there is room, and go on or give up when it is time."""
        ours = self._supervisor
        for pid, status in list(ours.crew.strangers.items()):
            if self._process is not None and pid == self._process.pid:
                self._process.ended = ended(status)
            del ours.crew.strangers[pid]
        self._see_off()
        process = self._process
        if process is None:
            if self._wanted and not self._leaving and ours.crew.make_room(cores.usable(), ours.generation):
                self._wanted = 0.0
                self._start()
            elif self._wanted and ours.clock() > self._wanted:
                self._fail("too many workers still have sessions")
        elif process.ended:
            self._hear()
            if self._process is None:
                return  # it had said why
            if process.complete:
                self._hand_over()
            else:
                self._fail(self._last_words() or f"the new program ended: {process.ended}")
        elif ours.clock() > process.deadline:
            self._fail(f"it was not ready in time: {self.attempt.text if self.attempt else ''}")

    def abandon(self, why: str) -> None:
        if self.under_way:
            self._fail(why)

    def forget(self) -> None:
        """In a child of ours: the trial's end of all is not to wait for us."""
        if self._process is not None:
            self._process.report.close()
            os.close(self._process.output)

    # The trial.

    def _start(self) -> None:
        ours = self._supervisor
        assert self._program is not None
        slots = ours.crew.free_slots()[-cores.usable() :]
        mine, its = control.pair()
        output, its_output = os.pipe()
        streams = (os.dup(1), os.dup(2))
        handed = Handed(
            role="trial",
            version=__version__,
            estate=ours.commons.estate,
            generation=max([ours.generation, *(worker.generation for worker in ours.crew.workers)]) + 1,
            slots=slots,
            fixed=reload.fixed(ours.settings),
            report=its.fileno(),
            streams=streams,
        )
        document = write(handed)
        pid = 0
        try:
            adopt_orphans()
            pid = os.fork()
            if not pid:
                self._become(self._program, handed, document, its_output)
            with suppress(OSError):
                os.setpgid(pid, pid)  # whoever comes first
            os.set_blocking(output, False)
            self._process = Process(pid, mine, output, ours.clock() + PATIENCE)
        except OSError as error:
            mine.close()
            os.close(output)
            self._fail(f"it cannot be started: {error.strerror}")
        finally:
            its.close()
            for descriptor in (its_output, document, *streams):
                os.close(descriptor)
        if self._process is not None:
            ours.crew.lend(slots)
            ours.watch(mine, self._hear)
            ours.watch(output, self._overhear)

    def _become(self, program: Program, handed: Handed, document: int, output: int) -> NoReturn:
        """In the child."""
        try:
            os.setpgid(0, 0)  # so that all of it can be killed at once
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            keep_open([*handed.descriptors(), document])
            os.dup2(output, 1)
            os.dup2(output, 2)
            environ = {**program.environ, VARIABLE: str(document)}
            environ.pop("NOTIFY_SOCKET", None)
            os.execve(program.argv[0], [*program.argv, TRIAL_OPTION], environ)  # noqa: S606  # our own program
        except OSError as error:
            os.write(2, f"{program.argv[0]}: {(error.strerror or str(error)).lower()}\n".encode())
        finally:
            os._exit(127)

    def _hear(self) -> None:
        """What the trial says."""
        process = self._process
        while process is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(process.report, LONGEST, 253)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._supervisor.unwatch(process.report)
                return  # its end is told by its wait status
            if process.ready is not None:
                process.descriptors += descriptors
                continue
            self._obey(process, data)
            if self._process is not process:
                return

    def _obey(self, process: Process, data: bytes) -> None:
        try:
            word = msgspec.json.decode(data, type=Word)
        except msgspec.DecodeError as error:
            self._fail(f"it says what this program does not understand: {error}")
            return
        if word.state == "failed":
            self._fail(word.text)
        elif word.state == "ready":
            process.ready = word
        else:
            process.deadline = self._supervisor.clock() + longest(word.patience)
            self._tell("running", word.text)
            log.info(f"Upgrade: {word.text}")

    def _overhear(self) -> None:
        """What the trial prints until it has begun; it goes to our own standard error too."""
        process = self._process
        if process is None:
            return
        try:
            data = os.read(process.output, 65536)
        except BlockingIOError:
            return
        if not data:
            self._supervisor.unwatch(process.output)
            return
        with suppress(OSError):
            os.write(2, data)
        process.printed = b"\n".join((process.printed + data).split(b"\n")[-LAST_WORDS - 1 :])[-8192:]

    def _last_words(self) -> str:
        self._overhear()
        assert self._process is not None
        text = self._process.printed.decode("utf-8", "backslashreplace").strip()
        if text.startswith("Traceback") or "\nTraceback" in text:
            return text.splitlines()[-1]  # all of it is in the log
        return text

    # How it ends.

    def _fail(self, why: str) -> None:
        """Nothing has changed."""
        ours, process = self._supervisor, self._process
        self._process, self._wanted = None, 0.0
        if process is not None:
            for end in (process.report, process.output):
                ours.unwatch(end)
            process.report.close()
            for descriptor in (process.output, *process.descriptors):
                os.close(descriptor)
            self._leaving = process.pid
            self._see_off()
        self._tell("failed", why)
        log.error(f"Upgrade Failed, the running program goes on: {why}")
        ours.notifier.ready(f"{ours.size} workers; upgrade failed, see the log")
        if self._reload and not ours.stopping:
            self._reload = False
            ours.renewal.begin()

    def _see_off(self) -> None:
        """Kill what is left of one that failed; its workers have served nobody. Their slots are free after that."""
        if not self._leaving:
            return
        try:
            os.killpg(self._leaving, signal.SIGKILL)
        except ProcessLookupError:
            self._leaving = 0
            self._supervisor.crew.take_back()

    def _hand_over(self) -> None:
        """Become the new program. Returns only when that cannot be."""
        ours, process, program = self._supervisor, self._process, self._program
        assert process is not None and process.ready is not None and program is not None
        ledgers, places = [Counting(descriptor=ours.commons.ledger.descriptor)], {None: 0}
        for carry in ours.carries:
            places[carry.source] = len(ledgers)  # type: ignore[index]
            ledgers.append(Counting(descriptor=carry.source.descriptor, brought=carry.brought))
        left = Left(
            role="left",
            version=__version__,
            made=process.ready.made,
            renamed=dict(zip(process.ready.descriptors, process.descriptors, strict=True)),
            estate=ours.commons.estate,
            workers=[someone.employed(places[someone.counts]) for someone in ours.crew.workers],  # type: ignore[index]
            ledgers=ledgers,
            number=self._number,
            reloads=ours.renewal.count,
        )
        self._tell("running", "taking over")
        log.info("The new program is ready and takes over")
        signals.hold()
        if self._reload:
            os.kill(os.getpid(), signal.SIGHUP)  # for the new program
        document = write(left)
        kept = [document, *left.descriptors()]
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            keep_open(kept)
            environ = {**program.environ, VARIABLE: str(document)}
            os.execve(program.argv[0], list(program.argv), environ)  # noqa: S606  # our own program
        except OSError as error:
            keep_open(kept, inheritable=False)
            os.close(document)
            signals.release()
            self._fail(f"{program.argv[0]}: {(error.strerror or str(error)).lower()}")

    def _tell(self, state: str, text: str) -> None:
        self.attempt = Attempt(number=self._number, state=state, before=__version__, text=text)  # type: ignore[arg-type]
        self._supervisor.say_standing()
