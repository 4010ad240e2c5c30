"""Commands run in the test's own process, on a store of its own. The log they set up must not stay behind."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from pillarbox.access import passwords
from pillarbox.cli import accounts, pillarbox

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quiet_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = structlog.get_config()
    warnings_only = structlog.make_filtering_bound_logger(logging.WARNING)

    def quiet() -> None:
        structlog.configure(wrapper_class=warnings_only, cache_logger_on_first_use=False)

    monkeypatch.setattr(accounts, "_quiet", quiet)
    yield
    structlog.configure(**before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("user", "list", stdin="")` is `pillarbox user list`: its status, what it printed, what it complained of."""
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "smtp.db"))
    monkeypatch.setattr(passwords, "hash_password", lambda text: (f"hash of {text}", f"scram of {text}"))

    def call(*argv: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = pillarbox.main(argv)
        return (status, *capsys.readouterr())

    return call
