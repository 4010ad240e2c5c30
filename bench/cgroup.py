"""CPU seconds and memory of a whole server: every process it ever forked, also those that have exited.

A server under test is started inside its own cgroup (version 1 `cpuacct` or version 2), so that short-lived
processes count too. Needs root to make the group; nothing else here does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_V1 = Path("/sys/fs/cgroup/cpuacct")
_V2 = Path("/sys/fs/cgroup")


class Cgroup:
    """One group of processes, named for the server that runs in it, and for this process: another run has its own."""

    def __init__(self, name: str) -> None:
        self._v1 = _V1.is_dir()
        self.path = (_V1 if self._v1 else _V2) / f"pillarbox_bench_{os.getpid()}_{name}"

    def start(self, argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start `argv` in the group; its children stay in it."""
        self.path.mkdir(exist_ok=True)
        return subprocess.Popen(argv, preexec_fn=self._enter(), start_new_session=True, **options)

    def _enter(self) -> Callable[[], None]:
        procs = self.path / "cgroup.procs"

        def enter() -> None:
            procs.write_text(str(os.getpid()))

        return enter

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def cpu(self) -> float:
        """CPU seconds, user and system, used so far by all that ever ran in the group."""
        if self._v1:
            return int((self.path / "cpuacct.usage").read_text()) / 1e9
        for line in (self.path / "cpu.stat").read_text().splitlines():
            key, value = line.split()
            if key == "usage_usec":
                return int(value) / 1e6
        raise OSError(f"{self.path}/cpu.stat has no usage_usec")

    def pss(self) -> float:
        """Proportional set size of all processes in the group, MiB."""
        return sum(_pss(pid) for pid in self.pids()) / 1024

    def stop(self, deadline: float = 15) -> None:
        """End every process of the group, each by its own pid, and remove the group, if it was ever started."""
        if not self.path.exists():
            return
        for sig, seconds in ((signal.SIGTERM, deadline), (signal.SIGKILL, 5.0)):
            for pid in self.pids():
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    continue
            end = time.monotonic() + seconds
            while self.pids() and time.monotonic() < end:
                _reap()
                time.sleep(0.05)
        self.path.rmdir()


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
