"""docs/routing.md: its commands are run as they stand there, in their order, on one database."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pillarbox.access import passwords
from pillarbox.cli import pillarbox

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "routing.md").read_text()
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines() if line]


def test_the_commands_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "smtp.db"))
    monkeypatch.setattr(passwords, "hash_password", lambda text: (f"hash of {text}", f"scram of {text}"))
    assert len(LINES) > 30
    for line in LINES:
        line, refused, _ = line.partition(" || ")
        before, piped, command = line.rpartition(" | ")
        printed = subprocess.run(["/bin/sh", "-c", before], capture_output=True, check=True).stdout.decode()
        monkeypatch.setattr(sys, "stdin", io.StringIO(printed if piped else ""))
        program, *words = shlex.split(command)
        assert program == "pillarbox", line
        assert pillarbox.main(words) == (1 if refused else 0), (line, capsys.readouterr())
        out, err = capsys.readouterr()
        assert out and (not err or words[0] == "user"), line


def test_the_page_names_what_the_commands_take() -> None:
    from pillarbox.store.lists import POSTING
    from pillarbox.store.routes import KINDS, TLS

    for word in (*KINDS, *TLS, *POSTING):
        assert f"`{word}`" in PAGE
