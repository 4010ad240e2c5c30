"""Commands about the queue, on a real store that has some."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillarbox.cli import pillarbox
from pillarbox.store import check_store
from unit.cli.queue.queue_samples import Run, fill


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "smtp.db"))
    monkeypatch.setenv("SMTP_HOSTNAME", "mail.example.com")
    monkeypatch.setenv("SUDO_USER", "eve")
    asyncio.run(fill(tmp_path / "smtp.db"))
    capsys.readouterr()

    def call(*argv: str) -> tuple[int, str, str]:
        status = pillarbox.main(argv)
        return (status, *capsys.readouterr())

    yield call
    assert check_store(tmp_path / "smtp.db") == []
