"""`pillarbox upgrade` beside a process that stands where the server would: asking it, and telling the outcome."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pillarbox.cli import administer_upgrade, administration, smtp_server, try_server
from pillarbox.server import standing
from pillarbox.server.standing import Attempt, Board, Standing


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[list[tuple[str, str, str]]], int]]:
    """Start a process that answers SIGUSR2 by saying these, one after the other."""
    pids = []

    def start(answers: list[tuple[str, str, str]]) -> int:
        ready, writer = os.pipe()
        pid = os.fork()
        if not pid:
            board, own = Board(tmp_path), os.getpid()

            def say(version: str, attempt: Attempt | None) -> None:
                board.write(
                    Standing(pid=own, started=standing.started(own), version=version, workers=2, upgrade=attempt)
                )

            def asked(*_: object) -> None:
                for state, text, version in answers:
                    say(version, Attempt(number=1, state=state, before="1.0", text=text))  # type: ignore[arg-type]
                    time.sleep(0.02)
                    if state == "dies":
                        os._exit(1)

            signal.signal(signal.SIGUSR2, asked)
            say("1.0", None)
            os.write(writer, b"r")
            while True:
                signal.pause()
        os.read(ready, 1)
        os.close(ready)
        os.close(writer)
        pids.append(pid)
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(administer_upgrade, "LOOK", 0.005)
    monkeypatch.setattr(administer_upgrade, "HEARD", 0.2)
    monkeypatch.setenv("SMTP_RUNTIME_DIR", str(tmp_path))


Capture = pytest.CaptureFixture[str]


def test_done(server: Callable[..., int], capsys: Capture) -> None:
    pid = server([("running", "starting workers", "1.0"), ("done", "", "2.0")])
    assert administration.run(["upgrade"]) == 0
    out, err = capsys.readouterr()
    assert out == f"Version 1.0 became 2.0; 2 workers, still process {pid}\n"
    assert err == "starting workers ...\n"


def test_done_for_scripts(server: Callable[..., int], capsys: Capture) -> None:
    pid = server([("running", "starting workers", "1.0"), ("done", "", "2.0")])
    assert administration.run(["upgrade", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"before": "1.0", "version": "2.0", "workers": 2, "pid": pid} and err == ""


def test_failed(server: Callable[..., int], capsys: Capture) -> None:
    server([("running", "checking the settings", "1.0"), ("failed", "SMTP_PORT is wrong", "1.0")])
    assert administration.run(["upgrade"]) == 1
    assert "Error: the upgrade failed, version 1.0 goes on: SMTP_PORT is wrong\n" in capsys.readouterr().err


def test_a_server_that_does_not_answer(server: Callable[..., int], capsys: Capture) -> None:
    server([])
    assert administration.run(["upgrade"]) == 1
    assert "does not say that it has begun; see the log" in capsys.readouterr().err


def test_no_server(capsys: Capture, tmp_path: Path) -> None:
    assert administration.run(["upgrade", "--runtime-dir", str(tmp_path / "no")]) == 1
    assert "no server runs with the folder" in capsys.readouterr().err


def test_one_is_under_way(server: Callable[..., int], capsys: Capture, tmp_path: Path) -> None:
    pid = server([])
    attempt = Attempt(number=1, state="running", before="1.0", text="starting workers")
    Board(tmp_path).write(Standing(pid=pid, started=standing.started(pid), version="1.0", upgrade=attempt))
    assert administration.run(["upgrade"]) == 1
    assert "an upgrade is under way already: starting workers" in capsys.readouterr().err


@pytest.mark.parametrize("main", [smtp_server.main, try_server.main])
def test_trials_are_started_by_servers_only(main: Callable[[list[str]], int], capsys: Capture) -> None:
    assert main(["--trial"]) == 2
    assert "use `pillarbox upgrade`" in capsys.readouterr().err
