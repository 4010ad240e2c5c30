"""Work done in a child process, so that the supervisor never opens the database nor imports what it needs once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from .privileges import RunAs, drop


class ChildFailed(Exception):
    """The child raised (then the text is its error's) or died."""


def in_child(work: Callable[[], Any], user: RunAs | None = None) -> Any:
    """The result of `work()`, done in a forked child as `user`, and waited for.

    The result must be what msgpack can carry. Raises ChildFailed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        _work(work, user, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        raise ChildFailed(ended(status))
    good, result = msgspec.msgpack.decode(answer)
    if not good:
        raise ChildFailed(result)
    return result


def _work(work: Callable[[], Any], user: RunAs | None, writer: int) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
        try:
            drop(user)
            answer = (True, work())
        except BaseException as error:
            kind = type(error)
            ours = kind.__module__.startswith("pillarbox.")  # then the text says all
            answer = (False, str(error) if ours else f"{kind.__name__}: {error}")
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(answer))
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(status: int) -> str:
    """How a process ended, from its wait status, for people."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
