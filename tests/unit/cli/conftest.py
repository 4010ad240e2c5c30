"""Commands run in the test's own process: the log they set up must not stay behind for other tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from pillarbox.cli import accounts


@pytest.fixture(autouse=True)
def quiet_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = structlog.get_config()
    warnings_only = structlog.make_filtering_bound_logger(logging.WARNING)

    def quiet() -> None:
        structlog.configure(wrapper_class=warnings_only, cache_logger_on_first_use=False)

    monkeypatch.setattr(accounts, "_quiet", quiet)
    yield
    structlog.configure(**before)
