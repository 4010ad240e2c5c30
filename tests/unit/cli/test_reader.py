"""Commands whose output nobody takes: each ends quietly when its reader goes, and says so when the disk is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ("mailq", []),
    ("sendmail", ["-bp"]),
    ("sendmail", ["--help"]),
    ("pillarbox", ["queue", "mailq"]),
    ("pillarbox", ["user", "list"]),
    ("user_cli", ["--help"]),
    ("smtp_server", ["--help"]),
]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("reader") / "smtp.db"
    environ = {**os.environ, "SMTP_DB_PATH": str(path)}
    environ.pop("PYTHONUNBUFFERED", None)
    assert start("user_cli", ["init"], environ, subprocess.PIPE).returncode == 0
    return environ


def start(name: str, words: list[str], environ: dict[str, str], stdout: int) -> subprocess.CompletedProcess[str]:
    program = f"import sys; from pillarbox.cli.{name} import main; sys.exit(main({words!r}))"
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


@pytest.mark.parametrize(("name", "words"), COMMANDS)
def test_it_ends_quietly_when_its_reader_has_gone(environ: dict[str, str], name: str, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = start(name, words, environ, writing)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_output_of_any_length(environ: dict[str, str]) -> None:
    program = (
        "from pillarbox.cli.reader import while_read; import sys; sys.exit(while_read(lambda: print('x' * 9**7) or 3))"
    )
    for unbuffered in ("", "1"):
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env={**environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            assert running.stdout.read(5) == b"xxxxx"
            running.stdout.close()
            assert running.stderr.read() == b""
        assert running.returncode == 141
        whole = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=False)
        assert (whole.returncode, len(whole.stdout)) == (3, 9**7 + 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_said(environ: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        ended = start("mailq", [], environ, full.fileno())
    assert ended.returncode == 1
    assert ended.stderr == "Error: the output cannot be written: No space left on device\n"
