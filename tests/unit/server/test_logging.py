"""Log lines: keys and their order, what fields become, levels, and that nothing about the log can raise."""

from __future__ import annotations

import json
import logging as standard
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.server import logging


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    handlers = standard.getLogger().handlers[:]
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue
    structlog.reset_defaults()
    standard.getLogger().handlers[:] = handlers
    logging.SINK.__init__()  # type: ignore[misc]


def test_json_lines_have_the_keys_in_order(pipe: tuple[int, int]) -> None:
    logging.configure(json=True, level="info", hostname="mx1", stream=pipe[1])
    structlog.get_logger().info("Message received: FROM=a", size=12, tls=True, id=b"x", gone=None, level="mine")
    line = json.loads(os.read(pipe[0], 9999))
    assert list(line)[:5] == ["timestamp", "level", "service", "hostname", "message"]
    assert isinstance(line["timestamp"], int)
    assert line["level"] == "INFO" and line["service"] == "smtp-server" and line["hostname"] == "mx1"
    assert line["message"] == "Message received: FROM=a"
    assert {k: line[k] for k in list(line)[5:]} == {"size": "12", "tls": "true", "id": "x", "field_level": "mine"}


def test_text_lines(pipe: tuple[int, int]) -> None:
    logging.configure(json=False, level="info", stream=pipe[1])
    structlog.get_logger().warning("odd\nthing", peer="192.0.2.1", name="two words", empty="")
    line = os.read(pipe[0], 9999).decode()
    assert line.startswith("[") and line.endswith("] [WARN] odd\\nthing peer=192.0.2.1 name='two words' empty=''\n")


def test_levels_are_live_for_loggers_in_use(pipe: tuple[int, int]) -> None:
    logging.configure(json=False, level="info", stream=pipe[1])
    log = structlog.get_logger()
    log.debug("one")
    logging.configure(json=False, level="debug", stream=pipe[1])
    log.debug("two")
    logging.configure(json=False, level="critical", stream=pipe[1])
    log.error("three")
    log.critical("four")
    text = os.read(pipe[0], 9999).decode()
    assert [line.split()[-1] for line in text.splitlines()] == ["two", "four"]


def test_the_form_is_live_for_loggers_in_use(pipe: tuple[int, int]) -> None:
    logging.configure(json=False, level="info", stream=pipe[1])
    log = structlog.get_logger()
    log.info("one")
    logging.configure(json=True, level="info", stream=pipe[1])
    log.info("two")
    one, two = os.read(pipe[0], 9999).splitlines()
    assert one.endswith(b"one") and json.loads(two)["message"] == "two"


def test_exceptions_and_bound_fields(pipe: tuple[int, int]) -> None:
    logging.configure(json=True, level="info", stream=pipe[1])
    log = structlog.get_logger().bind(peer="192.0.2.1")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    line = json.loads(os.read(pipe[0], 9999))
    assert line["level"] == "ERROR" and line["peer"] == "192.0.2.1"
    assert line["exception"].endswith("ValueError: why")


def test_what_libraries_log_comes_out_too(pipe: tuple[int, int]) -> None:
    logging.configure(json=True, level="info", stream=pipe[1])
    standard.getLogger("some.library").warning("took %d s", 3)
    line = json.loads(os.read(pipe[0], 9999))
    assert (line["level"], line["message"], line["logger"]) == ("WARN", "took 3 s", "some.library")


def test_a_broken_pipe_costs_only_the_line(pipe: tuple[int, int]) -> None:
    logging.configure(json=True, level="info", stream=pipe[1])
    os.close(pipe[0])
    structlog.get_logger().info("nobody reads this")
    assert logging.SINK.lost == 1


def test_the_file_has_the_lines_too_and_can_be_replaced(pipe: tuple[int, int], tmp_path: Path) -> None:
    logging.configure(json=False, level="info", stream=pipe[1])
    logging.SINK.replace_file(logging.open_file(tmp_path / "log"))
    log = structlog.get_logger()
    log.info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logging.SINK.replace_file(logging.open_file(tmp_path / "log"))
    log.info("two")
    logging.SINK.replace_file(-1)
    log.info("three")
    assert (tmp_path / "log.1").read_text().endswith("one\n")
    assert (tmp_path / "log").read_text().endswith("two\n")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640
    assert len(os.read(pipe[0], 9999).splitlines()) == 3


@given(st.dictionaries(st.text(), st.none() | st.text() | st.binary() | st.integers() | st.booleans()), st.text())
def test_any_field_is_one_line(fields: dict[str, object], message: str) -> None:
    line = logging.json_renderer("h", "s")(None, "info", {**fields, "event": message})
    assert line.count(b"\n") == 1 and json.loads(line)["service"] == "s"
    line = logging.text_renderer()(None, "info", {"event": message, "field": message})
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
