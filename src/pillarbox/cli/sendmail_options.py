"""The command line of `sendmail`, as scripts of forty years give it: options by letters, values attached or next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

# Options with a value, attached or the next word. What is not named below is taken and means nothing here.
_VALUED = frozenset("ABCDFLNORSVXbefhopqr")
_ATTACHED = frozenset("beqd")  # a value, but never the next word
_SWITCHES = frozenset("GIUimnstvx")
_NOTIFY = frozenset({"success", "failure", "delay"})


class Mode(Enum):
    """What `sendmail` is asked to be."""

    SEND = "m"
    SMTP = "s"
    LIST = "p"
    FLUSH = "q"
    ALIASES = "i"


class UsageError(Exception):
    """The command line is wrong: exit 64."""


class Options(NamedTuple):
    """`sender` None: nobody said; "" is the null path. `notify` and `ret` as RFC 3461 writes them."""

    mode: Mode = Mode.SEND
    sender: str | None = None
    full_name: str = ""
    recipients: tuple[str, ...] = ()
    from_header: bool = False
    dots: bool = True  # a line of one dot ends the message
    notify: str = ""
    ret: str = ""
    envid: str = ""
    verbose: bool = False
    only: str = ""  # -qI: this queue id


def parse_options(argv: Sequence[str]) -> Options:
    """The options among `argv`, which is without the program's name. Raises UsageError."""
    found = Options()
    recipients: list[str] = []
    for letter, value in _letters(argv):
        match letter:
            case "":
                recipients.append(value)
            case "b":
                found = found._replace(mode=_mode(value))
            case "f" | "r":
                found = found._replace(sender=value.strip().removeprefix("<").removesuffix(">"))
            case "F":
                found = found._replace(full_name=value)
            case "t":
                found = found._replace(from_header=True)
            case "i":
                found = found._replace(dots=False)
            case "o" if value == "i":
                found = found._replace(dots=False)
            case "O" if value.replace(" ", "").lower() in ("ignoredots", "ignoredots=true"):
                found = found._replace(dots=False)
            case "v":
                found = found._replace(verbose=True)
            case "N":
                found = found._replace(notify=_notify(value))
            case "R":
                found = found._replace(ret=_ret(value))
            case "V":
                found = found._replace(envid=_envid(value))
            case "q":
                found = _flush(found, value)
            case "I":
                found = found._replace(mode=Mode.ALIASES)
    return found._replace(recipients=tuple(recipients))


def _letters(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(letter, value) of each option and ("", word) of each other word; `--` ends the options."""
    words = iter(argv)
    for word in words:
        if word == "--":
            yield from (("", rest) for rest in words)
            return
        if not word.startswith("-"):
            yield "", word
            continue
        if word == "-":
            raise UsageError("an option without a letter")
        at = 1
        while at < len(word):
            letter = word[at]
            at += 1
            if letter in _VALUED or letter in _ATTACHED:
                value: str | None = word[at:]
                if not value and letter not in _ATTACHED:
                    value = next(words, None)
                if value is None:
                    raise UsageError(f"option -{letter} needs a value")
                yield letter, value
                break
            if letter not in _SWITCHES:
                raise UsageError(f"unknown option -{letter}")
            yield letter, ""


def _mode(value: str) -> Mode:
    if value in ("d", "D", "l"):
        raise UsageError(f"-b{value} is not there: the server is its own program, smtp-server")
    for mode in (Mode.SEND, Mode.SMTP, Mode.LIST, Mode.ALIASES):
        if mode.value == value:
            return mode
    raise UsageError(f"mode -b{value} is not there; there are -bm, -bs, -bp and -bi")


def _notify(value: str) -> str:
    words = [word.strip().lower() for word in value.split(",")]
    if words == ["never"]:
        return "NEVER"
    if not words or not set(words) <= _NOTIFY:
        raise UsageError("-N takes never, or success, failure and delay separated by commas")
    return ",".join(dict.fromkeys(word.upper() for word in words))


def _ret(value: str) -> str:
    if value.lower() not in ("full", "hdrs"):
        raise UsageError("-R takes full or hdrs")
    return value.upper()


def _envid(value: str) -> str:
    if not value or len(value) > 100 or not value.isprintable():
        raise UsageError("-V takes an envelope id of at most 100 printable characters")
    return value


def _flush(found: Options, value: str) -> Options:
    """`-q` alone runs the queue now, `-qIid` one message; an interval is for a daemon, which this is not."""
    if not value:
        return found._replace(mode=Mode.FLUSH)
    if value[0] == "I" and value[1:]:
        return found._replace(mode=Mode.FLUSH, only=value[1:])
    raise UsageError(f"-q{value} is not there: the server runs its queue by itself; -q tries everything now")
