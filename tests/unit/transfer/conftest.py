"""A store with one account."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from pillarbox.access import passwords
from pillarbox.cli import accounts

sys.path.insert(0, str(Path(__file__).parent))

from transfer_account import ADA, Account


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Account]:
    before = structlog.get_config()
    warnings_only = structlog.make_filtering_bound_logger(logging.WARNING)
    monkeypatch.setattr(
        accounts,
        "_quiet",
        lambda: structlog.configure(wrapper_class=warnings_only, cache_logger_on_first_use=False),
    )
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "smtp.db"))
    monkeypatch.setattr(passwords, "hash_password", lambda text: (f"hash of {text}", f"scram of {text}"))
    account = Account(tmp_path, capsys, monkeypatch)
    assert account.run("user", "add", ADA, stdin="correct horse\n")[0] == 0
    yield account
    account.check()
    structlog.configure(**before)
