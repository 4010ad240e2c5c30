"""What passes from one program to the next, the file that says how it went, and the command that is started again."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from pillarbox.config import Settings
from pillarbox.server import inheritance, reload, signals, standing
from pillarbox.server.inheritance import (
    VARIABLE,
    Employed,
    Estate,
    Handed,
    Inheritance,
    InheritanceError,
    Left,
    Listening,
    Made,
)
from pillarbox.server.program import command
from pillarbox.server.standing import Attempt, Board, NotRunning, Standing

ESTATE = Estate(
    listeners=[Listening(role="smtp", port=25, descriptors=[3, 4]), Listening(role="lmtp", path="/l", descriptors=[5])],
    ledger=6,
    hints=[(7, 8), (9, 10)],
    shared=11,
    started_at=1.0,
)


def taken(data: bytes) -> Inheritance:
    descriptor = os.memfd_create("document")
    os.write(descriptor, data)
    environ = {VARIABLE: str(descriptor), "OTHER": "stays"}
    try:
        found = Inheritance.take(environ)
    finally:
        assert environ == {"OTHER": "stays"}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert found is not None
    return found


def test_documents_reach_the_next_program() -> None:
    handed = Handed(
        role="trial", version="1", estate=ESTATE, generation=3, slots=[1], report=12, streams=(13, 14), fixed={"A": "b"}
    )
    descriptor = inheritance.write(handed)
    found = taken(os.pread(descriptor, 9999, 0))
    os.close(descriptor)
    assert found.handed == handed and found.left is None and found.settled() is None
    assert found.ports() == {"smtp": 25}
    assert handed.descriptors() == list(range(3, 15))
    assert Inheritance.take({}) is None


def test_what_another_version_adds_is_passed_over() -> None:
    document = json.loads(
        msgspec.json.encode(Handed(role="trial", estate=ESTATE, generation=1, slots=[], report=1, streams=(1, 2)))
    )
    document["news"] = {"of": "version 3"}
    document["estate"]["more"] = [1]
    del document["fixed"]
    assert taken(json.dumps(document).encode()).handed is not None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            b'{"format": 99, "role": "trial", "version": "9.0"}',
            "version 9.0 leaves what it has in form 99.*Fix: restart",
        ),
        (b'{"format": 1, "role": "trial"}', "cannot be read"),
        (b"junk", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_what_cannot_be_understood_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InheritanceError, match=why):
        taken(data)


@pytest.mark.parametrize("text", ["x", "99999"])
def test_a_variable_that_names_nothing(text: str) -> None:
    with pytest.raises(InheritanceError, match="is no descriptor"):
        Inheritance.take({VARIABLE: text})


def test_descriptors_of_the_trial_get_the_numbers_that_they_have_here() -> None:
    worker = Employed(pid=1, generation=2, index=0, slot=1, orders=3)
    made = Made(role="made", estate=ESTATE, generation=2, size=1, workers=[worker], settled=b"no pickle")
    left = Left(
        role="left",
        version="1",
        made=msgspec.Raw(msgspec.json.encode(made)),
        renamed={3: 30, 7: 70, 6: 60},
        estate=ESTATE,
        workers=[],
        ledgers=[],
        number=1,
    )
    found = taken(msgspec.json.encode(left))
    assert found.made.estate.listeners[0].descriptors == [30, 4]
    assert found.made.estate.hints == [(70, 8), (9, 10)] and found.made.estate.ledger == 60
    assert found.made.workers[0].orders == 30
    assert found.settled() is None  # then the settings are loaded again


def test_the_command_that_is_started_again(tmp_path: Path) -> None:
    script = tmp_path / "smtp-server"
    script.write_text("#!/usr/bin/python3\n")
    argv = [str(script), "--port", "25"]
    assert command(argv, [sys.executable, "-X", "dev", *argv], is_module=False)[1:] == ("-X", "dev", *argv)
    script.chmod(0o755)
    assert command(argv, [sys.executable, *argv], is_module=False) == tuple(argv)
    module = [sys.executable, "-m", "pillarbox.cli.smtp_server", "-p", "25"]
    assert command([str(script), "-p", "25"], module, is_module=True) == tuple(module)


def test_settings_that_may_not_change_over_an_upgrade() -> None:
    before = reload.fixed(Settings.of(db_path=Path("/a/smtp.db"), hostname="one.test"))
    assert before["SMTP_DB_PATH"] == "/a/smtp.db" and "SMTP_HOSTNAME" not in before
    assert reload.changed_too_late(before, Settings.of(db_path=Path("/a/smtp.db"), hostname="two.test")) == []
    changed = reload.changed_too_late(
        before | {"SMTP_OF_ANOTHER_VERSION": "x"}, Settings.of(db_path=Path("/b/smtp.db"))
    )
    assert "SMTP_DB_PATH" in changed and "SMTP_OF_ANOTHER_VERSION" not in changed


def of_this_process(**changes: object) -> Standing:
    pid = os.getpid()
    return msgspec.structs.replace(Standing(pid=pid, started=standing.started(pid), version="1"), **changes)


def test_the_file_says_who_runs(tmp_path: Path) -> None:
    board = Board(tmp_path)
    said = of_this_process(upgrade=Attempt(number=2, state="failed", before="1", text="why"))
    board.write(of_this_process())
    board.write(said)
    assert standing.read(tmp_path) == said
    path = tmp_path / standing.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    board.remove()
    board.remove()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotRunning, match="no server runs with the folder"):
        standing.read(tmp_path)


def test_a_file_that_is_not_true_is_not_believed(tmp_path: Path) -> None:
    board, path = Board(tmp_path), tmp_path / standing.FILE
    board.write(of_this_process(started="1"))
    with pytest.raises(NotRunning, match="has ended"):
        standing.read(tmp_path)
    path.write_text("junk")
    with pytest.raises(NotRunning):
        standing.read(tmp_path)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(msgspec.json.encode(of_this_process()))
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotRunning):
        standing.read(tmp_path)
    path.with_suffix(".new").symlink_to(tmp_path / "victim")
    board.write(of_this_process())
    assert not (tmp_path / "victim").exists()
    assert standing.read(tmp_path) == of_this_process()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of somebody else")
def test_a_file_of_another_account_does_not_name_our_process(tmp_path: Path) -> None:
    Board(tmp_path).write(of_this_process())
    os.chown(tmp_path / standing.FILE, 65534, 65534)
    with pytest.raises(NotRunning, match="was not written by process"):
        standing.read(tmp_path)


def test_a_board_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    Board(tmp_path / "nowhere").write(of_this_process())
    assert list(tmp_path.iterdir()) == []


def test_signals_held_over_a_change_of_programs_come_then() -> None:
    """In a child: what is blocked before `execve` is pending after it."""
    if not (pid := os.fork()):
        try:
            signals.hold()
            os.kill(os.getpid(), signal.SIGHUP)
            program = (
                "from pillarbox.server.signals import Signals\n"
                "import select, sys\nheard = Signals()\n"
                "select.select([heard], [], [], 10)\nsys.exit(int(1 in heard.take()) * 7)\n"
            )
            os.execv(sys.executable, [sys.executable, "-c", program])
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
