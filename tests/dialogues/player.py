"""What players of conversations share: the lines of a text file, and what each kind of line does.

A player of a protocol says in its own docstring how its lines look; it makes the core from the options and answers the
events.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def conversations(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(title, lines) of each conversation in the file."""
    title, lines = "", []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            if title:
                yield title, lines
            title, lines = line[3:], []
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    yield title, lines


class Player(ABC):
    """Plays one conversation against a fresh core."""

    core: Any

    def __init__(self, core: Any, split: int) -> None:
        self.core = core
        self.split = split
        self.said: list[str] = []
        self.events: list[str] = []
        self.answers: list[tuple[str, str]] = []
        self.content = b""

    @classmethod
    @abstractmethod
    def core_of(cls, options: list[str]) -> Any:
        """A core with the options of a conversation."""

    @abstractmethod
    def drain(self) -> None:
        """Answer the events that have come and take what the core says."""

    @classmethod
    def play(cls, lines: list[str], *, split: int = 0) -> None:
        """Play a conversation; with `split` the client's octets come so many at a time. Raises AssertionError."""
        options = lines[0][2:].split() if lines[0].startswith("= ") else []
        player = cls(cls.core_of(options), split)
        player.drain()  # what it says before the first line
        for line in lines:
            if not line.startswith("= "):
                player.step(line)
        player.nothing_left("the end")

    def step(self, line: str) -> None:
        who, _, text = line.partition(" ")
        if who == "C:":
            times = re.match(r"\|(\d+)\| ", text)
            count = int(times[1]) if times else 1
            text = text[times.end() :] if times else text
            self.send(line, (text.encode() + b"\r\n") * count)
        elif who == "C>":
            self.send(line, text.encode().decode("unicode_escape").encode("latin-1"))
        elif who == "S:":
            assert self.said, f"{line!r}: the server said no more"
            assert self.said.pop(0) == text, line
        elif who == "E:":
            assert text in self.events, f"{line!r} is not in {self.events}"
            del self.events[: self.events.index(text) + 1]
        elif who == "A":
            kind, _, answer = text.partition(": ")
            self.answers.append((kind, answer))
        elif who == "TLS":
            self.core.tls_started()
        elif who == "CLOSED":
            assert self.core.closed, "the conversation is still open"
        else:
            raise AssertionError(f"what is {line!r}?")

    def send(self, line: str, data: bytes) -> None:
        self.nothing_left(line)
        self.events.clear()
        for at in range(0, len(data), self.split or len(data)):
            self.core.receive(data[at : at + (self.split or len(data))])
            self.drain()

    def nothing_left(self, before: str) -> None:
        assert not self.said, f"before {before!r} the server also said {self.said}"
