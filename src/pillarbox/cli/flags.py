"""Command lines without a framework: for the programs that must answer at once or stay small in memory.

parsed = parse(argv, FLAGS)          # raises UsageError
parsed.value("--port"), parsed.has("--json"), parsed.words
"""

from __future__ import annotations

import difflib
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tabs and ends of lines


class UsageError(Exception):
    """The command line itself is wrong: exit 2. The text is for the user."""


@dataclass(frozen=True, slots=True)
class Flag:
    """`spellings` as typed, the long one last; `value` is the word for its value in the help, "" for a switch."""

    spellings: tuple[str, ...]
    help: str
    value: str = ""
    repeated: bool = False

    @property
    def name(self) -> str:
        return self.spellings[-1]


@dataclass(slots=True)
class Parsed:
    """`options` by the long spelling, every value in order; `words` are the positional arguments."""

    options: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return name in self.options

    def value(self, name: str) -> str | None:
        """The last value given, or None."""
        return self.options[name][-1] if name in self.options else None


def parse(argv: Sequence[str], flags: Sequence[Flag]) -> Parsed:
    """Flags anywhere, `--flag VALUE` or `--flag=VALUE`; `--` ends them; `-` is a word."""
    by_spelling = {spelling: flag for flag in flags for spelling in flag.spellings}
    parsed = Parsed()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            parsed.words += rest
            break
        if not word.startswith("-") or word == "-":
            parsed.words.append(word)
            continue
        spelling, equals, value = word.partition("=")
        flag = by_spelling.get(spelling)
        if flag is None:
            by_name = {known.lstrip("-"): known for known in by_spelling}  # the dashes make any two alike
            near = difflib.get_close_matches(spelling.lstrip("-"), list(by_name), n=1)
            hint = f" (did you mean {by_name[near[0]]}?)" if near else ""
            raise UsageError(f"Unknown argument: {spelling}{hint}")
        if flag.value and not equals:
            if not rest:
                raise UsageError(f"Error: {spelling} requires a value")
            value = rest.pop(0)
        elif equals and not flag.value:
            raise UsageError(f"Error: {spelling} takes no value")
        if flag.name in parsed.options and not flag.repeated:
            raise UsageError(f"Error: {spelling} is given twice")
        parsed.options.setdefault(flag.name, []).append(value)
    return parsed


def describe(flags: Sequence[Flag]) -> str:
    """The lines of a help text for these flags."""
    lefts = [", ".join(flag.spellings) + (f" {flag.value}" if flag.value else "") for flag in flags]
    width = min(34, max(map(len, lefts)))
    gap = "\n" + " " * (width + 4)
    return "\n".join(
        f"  {left:<{width}}  {flag.help}" if len(left) <= width else f"  {left}{gap}{flag.help}"
        for left, flag in zip(lefts, flags, strict=True)
    )


def require_text(argv: Sequence[str]) -> None:
    """Raises UsageError for an argument that is no text: names, addresses and passwords are UTF-8 in the store."""
    for word in argv:
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise UsageError(f"Error: {word!a} is not UTF-8")


def print_in_any_locale() -> None:
    """What the terminal's encoding lacks is shown as `?` and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def harmless(text: str) -> str:
    """Without what a terminal would obey: senders choose subjects, users names of files, other servers their words."""
    return _CONTROL.sub("?", text)


def complain(*lines: object) -> None:
    """To standard error, one line each."""
    for line in lines:
        print(harmless(str(line)), file=sys.stderr)
