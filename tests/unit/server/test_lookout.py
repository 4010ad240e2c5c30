"""What the supervisor looks at: maintenance, hung workers, the certificate, the watchdog."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from pillarbox.access.ledger import SUPERVISOR, Field, Ledger
from pillarbox.config import Settings
from pillarbox.server import lookout
from pillarbox.server.certificates import DAY, KeyPair
from pillarbox.server.crew import Worker
from pillarbox.server.lookout import Lookout
from pillarbox.server.notify import Notifier


class World:
    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.ledger = Ledger(2)
        self.own = self.ledger.attach(SUPERVISOR)
        self.now = 1000.0
        self.settings = Settings.of("testing", runtime_dir=folder)
        self.lookout = Lookout(self.own, Notifier(environ or {}), lambda: self.now)
        self.pair: KeyPair | None = None
        self.workers: list[Worker] = []

    def look(self) -> list[str]:
        with structlog.testing.capture_logs() as lines:
            self.lookout.look(self.settings, self.pair, self.workers)
        return [line["event"] for line in lines]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_maintenance_by_file_and_by_setting(world: World, tmp_path: Path) -> None:
    assert world.look() == []
    (tmp_path / lookout.MAINTENANCE_FILE).touch()
    assert world.look() == ["Maintenance mode: new SMTP connections get 421"]
    assert world.own.get(Field.MAINTENANCE) == 1 and world.look() == []
    (tmp_path / lookout.MAINTENANCE_FILE).unlink()
    assert world.look() == ["Maintenance mode is over"]
    world.settings = world.settings.replace(maintenance=True)
    assert world.look() == ["Maintenance mode: new SMTP connections get 421"]


@pytest.mark.parametrize(
    ("days", "said"),
    [(31, []), (29.5, ["The TLS certificate ends in 29 days"]), (-1, ["The TLS certificate has ended"])],
)
def test_the_end_of_the_certificate(world: World, days: float, said: list[str]) -> None:
    world.pair = KeyPair(b"", int(time.time() + days * DAY), ("mx.test",))
    assert world.look() == said
    assert world.look() == []  # once a day
    assert world.own.get(Field.CERTIFICATE_ENDS) == world.pair.not_after


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that would hang for ever."""
    pid = os.fork()
    if not pid:
        signal.pause()
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_hung_worker_is_killed(world: World, sleeper: int) -> None:
    ours, theirs = socket.socketpair()
    someone = Worker(1, 0, 1, sleeper, ours, ready_since=1.0)
    world.workers = [someone]
    beat = world.ledger.attach(1)
    beat.set(Field.HEARTBEAT_MS, int(world.now * 1000))
    world.now += lookout.HUNG - 1
    assert world.look() == []
    world.now += 2
    assert world.look() == ["Worker hangs and is killed"]
    pid, status = os.waitid(os.P_PID, sleeper, os.WEXITED | os.WNOWAIT)[0], None
    assert pid == sleeper and status is None
    ours.close()
    theirs.close()


def test_the_watchdog_is_told_only_while_all_workers_are_well(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world = World(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"})
        ours, theirs = socket.socketpair()
        someone = Worker(1, 0, 1, 0, ours, ready_since=1.0)
        beat = world.ledger.attach(1)
        beat.set(Field.HEARTBEAT_MS, int(world.now * 1000))
        world.workers = [someone]
        world.look()
        assert systemd.recv(99) == b"WATCHDOG=1"
        world.now += 5
        world.look()
        with pytest.raises(BlockingIOError):
            systemd.recv(99)
        world.now += 5
        world.look()
        assert systemd.recv(99) == b"WATCHDOG=1"
        world.now += 40
        world.look()
        with pytest.raises(BlockingIOError):
            systemd.recv(99)
        ours.close()
        theirs.close()
