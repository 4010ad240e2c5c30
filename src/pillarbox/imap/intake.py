"""From octets to whole commands: lines, literals, and what to throw away. Knows no command.

A command is given out as its lines joined, `{3}CRLFabc` standing where a literal was. At each literal the reader of
commands decides (`Announced`): it joins the command (`collect`), is given out as it comes (`hand_out`), or nothing of
this command is wanted (`forget`): then a literal that comes anyway (LITERAL+, RFC 7888) is skipped, not kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pillarbox.imap.reader import Overlong, Reader

_ANNOUNCED = re.compile(rb"~?\{([0-9]{1,40})(\+?)\}\Z")
_TAIL = 64  # octets of a skipped line that are kept, to see whether it announces a literal


@dataclass(slots=True)
class Announced:
    """A command came as far as the announcement of a literal of `size` octets.

    `start` is its first line, and `first` says that nothing else has come yet; `Intake.text()` is all of it.
    `sync`: the client waits for a continuation. `literals`: octets of the literals so far, this one included.
    """

    start: bytes
    first: bool
    size: int
    sync: bool
    literals: int


@dataclass(slots=True)
class TooLong:
    """A command whose lines are over the limit; `start` is how it begins."""

    start: bytes


@dataclass(slots=True)
class Chunk:
    """Octets of a literal that is handed out."""

    data: bytes


@dataclass(slots=True)
class Line:
    """The line after a literal that was handed out, or one asked for with `plain_line`; None: over the limit."""

    text: bytes | None


Frame = bytes | Announced | TooLong | Chunk | Line


class _Mode(Enum):
    COMMAND = auto()  # a line of a command: its first, or one after a literal
    LITERAL = auto()  # a literal that joins the command
    HANDED = auto()  # a literal that is given out
    LINE = auto()  # a line that is no command
    SKIP = auto()  # a literal that nobody wants
    REST = auto()  # the rest of a line that nobody wants


class _More:
    """The step needs more bytes."""


_MORE: Final = _More()


class Intake:
    """Frames in, one after the other. After `Announced` and `TooLong` say what to do before asking for the next."""

    __slots__ = ("_left", "_literals", "_mode", "_parts", "_reader", "_tail", "_text", "_unwanted")

    def __init__(self) -> None:
        self._reader = Reader()
        self._mode = _Mode.COMMAND
        self._unwanted = _Mode.COMMAND  # where `forget` goes on
        self._parts: list[bytes] = []  # lines and literals of a command that has literals
        self._text = 0  # octets of its lines
        self._literals = 0  # octets of its literals
        self._left = 0  # octets of the literal that still come
        self._tail = bytearray()

    @property
    def buffered(self) -> int:
        """Octets that are in no frame yet."""
        return len(self._reader.buffer)

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)

    def take(self) -> bytes:
        """All that is in no frame yet."""
        return self._reader.take(self.buffered)

    def clear(self) -> None:
        """Forget all that came (STARTTLS, the end)."""
        self._reader.clear()
        self._tail.clear()
        self._left = 0
        self._mode = self._unwanted = _Mode.COMMAND
        self._begin()

    def text(self) -> bytes:
        """The command as far as it came, after `Announced`."""
        return b"".join(self._parts[:-1])

    def collect(self) -> None:
        """The announced literal joins its command."""
        self._mode = _Mode.LITERAL

    def hand_out(self) -> None:
        """The announced literal comes out as Chunks; what follows is as a command again, by itself."""
        self._mode, self._unwanted = _Mode.HANDED, _Mode.COMMAND
        self._begin()

    def forget(self) -> None:
        """The command is over, or nothing of it is wanted: go on with the next one."""
        self._mode, self._unwanted = self._unwanted, _Mode.COMMAND
        self._begin()

    def plain_line(self) -> None:
        """The next line is no command: comes out as Line."""
        self._mode = _Mode.LINE

    def next(self, limit: int) -> Frame | None:
        """The next frame, None when more bytes are needed. `limit`: octets of the lines of one command."""
        while self._mode is not _Mode.COMMAND:
            step = self._step(limit)
            if step is not None:
                return None if isinstance(step, _More) else step
        return self._command_line(limit) if self._reader.buffer else None

    def _begin(self) -> None:
        self._parts.clear()
        self._text = self._literals = 0

    def _step(self, limit: int) -> Frame | _More | None:
        """One step towards the next command; None when it made progress without a frame."""
        match self._mode:
            case _Mode.LITERAL:
                if self.buffered < self._left:
                    return _MORE
                self._parts.append(self._reader.take(self._left))
                self._mode, self._unwanted = _Mode.COMMAND, _Mode.COMMAND
            case _Mode.HANDED:
                if self._left:
                    chunk = self._reader.take(self._left)
                    self._left -= len(chunk)
                    return Chunk(chunk) if chunk else _MORE
                self._mode = _Mode.COMMAND
            case _Mode.LINE:
                return self._plain_line(limit)
            case _Mode.SKIP:
                self._left -= self._reader.drop(self._left)
                if self._left:
                    return _MORE
                self._mode = _Mode.REST
            case _Mode.REST:
                if not self._reader.drop_line(self._tail, _TAIL):
                    return _MORE
                self._mode = self._after(bytes(self._tail).removesuffix(b"\n").removesuffix(b"\r"))
                self._tail.clear()
        return None

    def _command_line(self, limit: int) -> Frame | None:
        line = self._reader.line(max(0, limit - self._text))
        if line is None:
            return None
        if isinstance(line, Overlong):
            self._unwanted = _Mode.REST
            return TooLong(self._parts[0] if self._parts else bytes(self._reader.buffer[:300]))
        if line.endswith(b"}"):
            announced = _ANNOUNCED.search(line)
            if announced:
                return self._announced(line, announced)
        if line.endswith(b" "):
            line = line.rstrip(b" ")  # some clients leave one there
        if self._parts:
            self._parts.append(line)
            line = b"".join(self._parts)
            self._begin()
        return line

    def _announced(self, line: bytes, announced: re.Match[bytes]) -> Announced:
        size, sync = int(announced[1]), not announced[2]
        self._unwanted = self._after(line)
        self._left = size
        self._text += len(line)
        self._literals += size
        self._parts += (line, b"\r\n")
        return Announced(self._parts[0], len(self._parts) == 2, size, sync, self._literals)

    def _plain_line(self, limit: int) -> Frame | _More:
        line = self._reader.line(limit)
        if line is None:
            return _MORE
        if isinstance(line, Overlong):
            self._unwanted = _Mode.REST
            return Line(None)
        self._unwanted = self._after(line)
        return Line(line)

    def _after(self, line: bytes) -> _Mode:
        """How to go on after a line that is not wanted: a non-synchronizing literal comes whatever we say."""
        announced = _ANNOUNCED.search(line)
        if announced and announced[2]:
            self._left = int(announced[1])
            return _Mode.SKIP
        return _Mode.COMMAND
