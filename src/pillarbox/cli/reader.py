"""What becomes of a command whose output nobody takes: `pillarbox queue list | head`, or a full disk.

When its reader has gone it ends quietly, with the status that a shell reports for SIGPIPE. The signal itself stays
ignored: it would also end a command whose connection to the server breaks, which is an error with its own answer.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

GONE = 141  # 128 + SIGPIPE
_FAILED = 1


class _NotTaken(BaseException):
    """Past every `except OSError` on the way: nothing that the command still does is of use."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Output(io.FileIO):
    """Standard output. Raises _NotTaken, once: what is still in buffers then has somewhere to go."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise _NotTaken(GONE) from None
            print(f"Error: the output cannot be written: {error.strerror}", file=sys.stderr)
            raise _NotTaken(_FAILED) from None


def while_read(work: Callable[[], int]) -> int:
    """What `work` returns, which writes to standard output; GONE when its reader went away before the end."""
    found = sys.stdout
    if not isinstance(found, io.TextIOWrapper) or not isinstance(found.buffer, io.BufferedWriter | io.FileIO):
        return work()  # closed, or a program's own
    found.flush()
    output = io.BufferedWriter(_Output(found.fileno(), "wb", closefd=False))
    lines = found.line_buffering or found.write_through
    sys.stdout = io.TextIOWrapper(output, found.encoding, found.errors, line_buffering=lines)
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except _NotTaken as end:
        return end.status
    finally:
        sys.stdout = found
