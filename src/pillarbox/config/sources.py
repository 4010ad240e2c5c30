"""Where settings come from: systemd's EnvironmentFile syntax and TOML, each value with the line it stands on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

CONFIG_ENV = "/etc/smtp-server/config.env"
CONFIG_TOML = "/etc/smtp-server/config.toml"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BLANKS = " \t\r"
_DOUBLE_QUOTE_ESCAPES = '"\\`$'


@dataclass(frozen=True, slots=True)
class Given:
    """One value as an operator wrote it. `raw` is text, or from TOML a boolean, a number or a list."""

    name: str
    raw: object
    source: str
    line: int | None = None


class FileError(Exception):
    """A file of settings cannot be read or understood: (path, line or None, what is wrong, how to mend it)."""

    def __init__(self, path: str, line: int | None, wrong: str, fix: str) -> None:
        super().__init__(path, line, wrong, fix)
        self.path, self.line, self.wrong, self.fix = path, line, wrong, fix

    def __str__(self) -> str:
        where = f"{self.path} line {self.line}" if self.line else self.path
        return f"{where}: {self.wrong}. Fix: {self.fix}"


def read_text(path: str) -> str:
    """The whole file as UTF-8; `FileNotFoundError` goes through, everything else is a `FileError`."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise FileError(path, None, "is not UTF-8", "save it as UTF-8") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        fix = "let the user of the server read it, e.g. `chown root:smtp` and `chmod 640`, or run as that user"
        raise FileError(path, None, f"cannot be read ({reason})", fix) from error


def read_environment_file(path: str) -> list[Given]:
    """The assignments of an EnvironmentFile, in order; a later one of the same name wins."""
    return [Given(name, value, path, line) for name, value, line in parse_environment(read_text(path), path)]


def parse_environment(text: str, path: str) -> Iterator[tuple[str, str, int]]:
    """(name, value, line) as systemd.exec(5) describes EnvironmentFile.

    `#` and `;` begin comment lines; a value may be bare, in '…' (no escapes) or in "…" (backslash before " \\ ` $); a
    backslash at the end of a line continues it. What systemd would skip with a log line nobody reads is an error here.
    """
    at, counted, line, end = 0, 0, 1, len(text)
    while at < end:
        line, counted = line + text.count("\n", counted, at), at
        stop = text.find("\n", at)
        stop = end if stop < 0 else stop
        head = text[at:stop].strip(_BLANKS)
        if not head or head[0] in "#;":
            at = stop + 1
            continue
        name, equals, _ = text[at:stop].partition("=")
        name = name.strip(_BLANKS)
        if name.startswith("export "):
            raise FileError(path, line, f"`{name}` is shell, systemd skips this line", "remove the word `export`")
        if not equals or not _NAME.fullmatch(name):
            raise FileError(path, line, "is not NAME=VALUE", "write NAME=VALUE, or begin the line with #")
        value, at = _environment_value(text, text.index("=", at) + 1, path, line)
        yield name, value, line


def _environment_value(text: str, at: int, path: str, line: int) -> tuple[str, int]:
    """The value that begins at `at`, and where the next line begins."""
    out: list[str] = []
    kept = 0  # blanks after this many pieces are at the end of a bare value and go
    end = len(text)
    quote = ""
    bare = False  # inside a bare value quotes are ordinary characters
    while at < end:
        char = text[at]
        at += 1
        if quote:
            if char == quote:
                quote, kept = "", len(out)
            elif char == "\\" and quote == '"' and at < end:
                char = text[at]
                at += 1
                if char != "\n":
                    out.append(char if char in _DOUBLE_QUOTE_ESCAPES else "\\" + char)
            else:
                out.append(char)
        elif char == "\n":
            break
        elif char == "\\":
            if at < end and text[at] != "\n":
                out.append(text[at])
                bare, kept = True, len(out)
            at += 1
        elif char in "\"'" and not bare:
            quote = char
        elif char in _BLANKS:
            if bare:
                out.append(char)
        else:
            out.append(char)
            bare, kept = True, len(out)
    if quote:
        raise FileError(path, line, f"has a {quote} that is never closed", f"close the value with {quote}")
    return "".join(out[:kept]), min(at, end)


_SECTION = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=")


def read_toml(path: str) -> list[Given]:
    """The values of a TOML file, named `section.key`, with their lines."""
    text = read_text(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else None
        raise FileError(path, line, f"is not TOML: {error}", "mend that line; texts need quotes") from error
    lines = _toml_lines(text)
    return [Given(name, value, path, lines.get(name)) for name, value in _flatten("", tables)]


def _flatten(prefix: str, table: dict[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


def _toml_lines(text: str) -> dict[str, int]:
    """Where `section.key` stands. tomllib does not say; this reads what operators write: one key a line."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if found := _SECTION.match(line):
            section = found[1] + "."
        elif found := _KEY.match(line):
            lines.setdefault(section + found[1].strip("\"'"), number)
    return lines
