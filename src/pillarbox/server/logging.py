"""The log: one line an event, on standard error and, when asked for, in a file as well.

JSON lines have the keys timestamp (epoch seconds), level, service, hostname, message in this order, then the event's
own fields as strings. The text form is `[epoch] [LEVEL] message` and the fields; a traceback follows on indented lines.

A line is one `write`, so lines of several processes do not mix. Nothing here raises: a log that nobody reads, a full
disk or a broken pipe costs the line, never the mail.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from textwrap import indent
from typing import Any

import msgspec
import structlog

SERVICE = "smtp-server"
DEBUG, INFO, WARN, ERROR, CRITICAL = 10, 20, 30, 40, 50
LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR, "critical": CRITICAL}
_NAMES = {
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARN",
    "warning": "WARN",
    "error": "ERROR",
    "exception": "ERROR",
    "critical": "CRITICAL",
}
_COLOURS = {"DEBUG": "\x1b[36m", "INFO": "\x1b[32m", "WARN": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[35m"}
_RESET = "\x1b[0m"
_encode = msgspec.json.Encoder().encode


class Sink:
    """Where lines go; the process has one. Changing it takes effect for every logger at once."""

    def __init__(self) -> None:
        self.level = INFO
        self.stream = 2  # standard error
        self.file = -1  # descriptor of the log file, -1 without one
        self.coloured = False
        self.lost = 0  # lines that could not be written

    def write(self, line: bytes) -> None:
        for descriptor in (self.stream, self.file):
            if descriptor < 0:
                continue
            try:
                os.write(descriptor, line)
            except OSError:
                self.lost += 1

    def replace_file(self, descriptor: int) -> None:
        """Go on in another open file (-1: none), as after a rotation. The old one is closed."""
        old, self.file = self.file, descriptor
        if old >= 0:
            os.close(old)


SINK = Sink()


class _Writer:
    """The logger that structlog wraps: takes a rendered line."""

    def line(self, line: bytes) -> None:
        SINK.write(line)

    debug = info = warn = warning = error = exception = critical = line


class BoundLogger(structlog.BoundLoggerBase):
    """`log.info("Message received", size=10)`. What is below the level costs a comparison."""

    def debug(self, event: str, *args: object, **fields: object) -> None:
        if SINK.level <= DEBUG:
            self._say("debug", event, args, fields)

    def info(self, event: str, *args: object, **fields: object) -> None:
        if SINK.level <= INFO:
            self._say("info", event, args, fields)

    def warning(self, event: str, *args: object, **fields: object) -> None:
        if SINK.level <= WARN:
            self._say("warning", event, args, fields)

    warn = warning

    def error(self, event: str, *args: object, **fields: object) -> None:
        if SINK.level <= ERROR:
            self._say("error", event, args, fields)

    def exception(self, event: str, *args: object, **fields: object) -> None:
        fields.setdefault("exc_info", True)
        self._say("error", event, args, fields)

    def critical(self, event: str, *args: object, **fields: object) -> None:
        self._say("critical", event, args, fields)

    def _say(self, method: str, event: str, args: tuple[object, ...], fields: dict[str, object]) -> None:
        if args:
            event = event % args
        if self._processors == _PROCESSORS:  # the way of structlog to the same takes as long as all the rest
            SINK.write(_render(None, method, {**self._context, **fields, "event": event}))
        else:
            self._proxy_to_logger(method, event, **fields)


def json_renderer(
    hostname: str, service: str, clock: Callable[[], float] = time.time
) -> Callable[[Any, str, MutableMapping[str, Any]], bytes]:
    def render(_: Any, method: str, fields: MutableMapping[str, Any]) -> bytes:
        message = fields.pop("event", "")
        line: dict[str, object] = {
            "timestamp": int(clock()),
            "level": _NAMES[method],
            "service": service,
            "hostname": hostname,
            "message": _text(message),
        }
        for name, value in _flat(fields).items():
            line[f"field_{name}" if name in line else name] = value
        return _encode(line) + b"\n"

    return render


def text_renderer(clock: Callable[[], float] = time.time) -> Callable[[Any, str, MutableMapping[str, Any]], bytes]:
    def render(_: Any, method: str, fields: MutableMapping[str, Any]) -> bytes:
        message, level = _text(fields.pop("event", "")), _NAMES[method]
        shown = f"{_COLOURS[level]}[{level}]{_RESET}" if SINK.coloured else f"[{level}]"
        flat = _flat(fields)
        trace = flat.pop("exception", "")
        rest = "".join(
            f" {name}={value}" if value and value.isprintable() and " " not in value else f" {name}={value!r}"
            for name, value in flat.items()
        )
        if trace:
            rest += "\n" + indent(trace, "    ")
        if not message.isprintable():
            message = message.encode("unicode_escape").decode()
        return f"[{int(clock())}] {shown} {message}{rest}\n".encode("utf-8", "backslashreplace")

    return render


def _text(value: object) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    # Lone surrogates stand for octets that are no UTF-8; JSON cannot hold them.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _flat(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields as strings, None left out, an exception as its traceback."""
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "exc_info":
            if trace := _traceback(value):
                flat["exception"] = trace
        else:
            flat[name] = value if type(value) is str and value.isascii() else _text(value)
    return flat


def _traceback(value: object) -> str:
    if isinstance(value, BaseException):
        error: BaseException | None = value
    elif isinstance(value, tuple):
        error = value[1]
    else:
        error = sys.exc_info()[1] if value else None
    return "".join(traceback.format_exception(error)).rstrip() if error is not None else ""


class _Forward(logging.Handler):
    """What libraries say through the standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger()
            say = log.error if record.levelno >= ERROR else log.warning if record.levelno >= WARN else log.info
            say(record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:
            SINK.lost += 1


def configure(*, json: bool, level: str, hostname: str = "", service: str = SERVICE, stream: int = 2) -> None:
    """Set the log of this process up; a call later on changes level and form of the loggers not yet used.

    `level` is a name of `LEVELS`. Loggers keep what they were bound to, so only the level is live for all of them.
    """
    SINK.level = LEVELS[level]
    SINK.stream = stream
    SINK.coloured = not json and SINK.file < 0 and os.isatty(stream)
    _FORM.clear()
    _FORM.append(json_renderer(hostname or socket.gethostname(), service) if json else text_renderer())
    structlog.configure(
        processors=[*_PROCESSORS],  # a list of its own: tests put others into it
        wrapper_class=BoundLogger,
        context_class=dict,
        logger_factory=lambda *_: _Writer(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Forward) for handler in root.handlers):
        root.addHandler(_Forward(logging.WARNING))


_FORM: list[Callable[[Any, str, MutableMapping[str, Any]], bytes]] = []


def _render(logger: Any, method: str, fields: MutableMapping[str, Any]) -> bytes:
    """The processor of every logger: the form of the moment, so that a reload can change it."""
    return _FORM[0](logger, method, fields)


_PROCESSORS = [_render]


def open_file(path: os.PathLike[str] | str) -> int:
    """A descriptor that appends to the log file, made 0640 when it is missing. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
