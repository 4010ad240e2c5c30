"""Fixtures of the store's tests (a place for a store on SQLite and on PostgreSQL) and an office on it."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parent))

import virtual_time
from virtual_time import VirtualLoop

import world

_PATH = Path(__file__).parent.parent / "store" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("store_conftest", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
_store = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_store)

used_schema = _store.used_schema
folder = _store.folder
place = _store.place


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)


@pytest.fixture
def run(place: str) -> Callable[..., None]:
    """Runs an async function with an office, in virtual time."""
    return _runner(place)


@pytest.fixture
def run_sqlite(folder: Path) -> Callable[..., None]:
    """`run` on SQLite alone, for what is long and asks nothing new of the store."""
    return _runner(str(folder / "smtp.db"))


def _runner(place: str) -> Callable[..., None]:
    def runner(body: Callable[[Any], Coroutine[Any, Any, None]], **settings: Any) -> None:
        async def inside(loop: VirtualLoop) -> None:
            async with world.office(loop, place, **settings) as office:
                await body(office)

        virtual_time.run(inside)

    return runner
