"""sd_notify: what is sent, and that nothing happens without a socket or with a dead one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pillarbox.server.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_sent(tmp_path: Path, abstract: bool) -> None:
    name = f"@pillarbox-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready("2 workers")
        notifier.reloading()
        notifier.stopping()
        notifier.alive()
        got = [systemd.recv(999).decode().splitlines() for _ in range(4)]
    assert got[0][:2] == ["READY=1", "STATUS=2 workers"]
    assert got[1][0] == "RELOADING=1" and got[1][1].startswith("MONOTONIC_USEC=")
    assert got[2][0] == "STOPPING=1"
    assert got[3] == ["WATCHDOG=1"]


def test_nothing_to_tell_or_nobody_there(tmp_path: Path) -> None:
    Notifier({}).ready("")
    dead = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    dead.ready("")
    assert dead.watchdog == 0


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog(environ: dict[str, str], seconds: float) -> None:
    assert Notifier(environ, pid=7).watchdog == seconds
