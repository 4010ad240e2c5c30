"""Matching of LIST patterns: `*` any characters, `%` any but the hierarchy delimiter (RFC 9051 section 6.3.9).

Linear in the length of the name for any patterns: the usual shapes (`*`, `%`, `a/*`, `a/%`, no wildcard) are string
comparisons, the rest runs all states of all patterns at once as bits of one integer, so nothing ever backtracks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from pillarbox.imap.mailbox_name import DELIMITER

_WILDCARDS = re.compile(r"[*%]{2,}")

Matches = Callable[[str], bool]


class ListMatcher:
    """Any of several patterns under one reference. `INBOX` matches in any case, other names as they are stored: NFC."""

    __slots__ = ("_inbox", "_matches")

    def __init__(self, reference: str, patterns: Iterable[str]) -> None:
        whole = [_inbox_prefix(unicodedata.normalize("NFC", reference + pattern)) for pattern in patterns]
        self._matches = _compiled(whole)
        self._inbox = any(matches("INBOX") for matches in _compiled([pattern.upper() for pattern in whole]))

    def __call__(self, name: str) -> bool:
        if name == "INBOX":
            return self._inbox
        return any(matches(name) for matches in self._matches)


def _inbox_prefix(pattern: str) -> str:
    if pattern[:5].upper() == "INBOX" and pattern[5:6] in ("", DELIMITER):
        return "INBOX" + pattern[5:]
    return pattern


def compile_pattern(pattern: str) -> Matches:
    """A function name -> does it match. Compares exactly, case too."""
    return _compiled([pattern])[0]


def _compiled(patterns: Iterable[str]) -> list[Matches]:
    """What matches if any of these does."""
    made: list[Matches] = []
    others: list[str] = []
    for written in patterns:
        pattern = _WILDCARDS.sub(lambda run: "*" if "*" in run[0] else "%", written)
        simple = _simple(pattern)
        if simple is None:
            others.append(pattern)
        else:
            made.append(simple)
    if others:
        made.append(_automaton(others))
    return made


def _simple(pattern: str) -> Matches | None:
    head, last = pattern[:-1], pattern[-1:]
    if "*" in head or "%" in head:
        return None
    if last == "*":
        return lambda name: name.startswith(head)
    if last == "%":
        size = len(head)
        return lambda name: name.startswith(head) and DELIMITER not in name[size:]
    return lambda name: name == pattern


def _automaton(patterns: list[str]) -> Matches:
    # Each pattern has a state for each of its characters and one for its end. Bit i of `states` says that it is
    # possible that the characters before that of state i are matched.
    steps: dict[str, int] = {}  # character -> states that it may leave
    anything = 0  # states in which any character is taken without moving
    level = 0  # the same for any character but the delimiter
    start = final = 0
    at = 0
    for pattern in patterns:
        start |= 1 << at
        if pattern[0] in "*%":
            start |= 2 << at
        for character in pattern:
            bit = 1 << at
            if character == "*":
                anything |= bit
                level |= bit
            elif character == "%":
                level |= bit
            else:
                steps[character] = steps.get(character, 0) | bit
            at += 1
        final |= 1 << at  # no character leaves it, so nothing moves on into the next pattern
        at += 1
    leave = steps.get

    def matches(name: str) -> bool:
        states = start
        for character in name:
            stay = states & (anything if character == DELIMITER else level)
            states = ((states & leave(character, 0)) << 1) | stay
            states |= (states & level) << 1  # a wildcard may match nothing; two never stand side by side
            if not states:
                return False
        return bool(states & final)

    return matches
