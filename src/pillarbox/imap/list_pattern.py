"""Matching of LIST patterns: `*` any characters, `%` any but the hierarchy delimiter (RFC 9051 section 6.3.9).

Linear in the length of the name for any pattern: the usual shapes (`*`, `%`, `a/*`, `a/%`, no wildcard) are string
comparisons, the rest runs all states of the pattern at once as bits of one integer, so nothing ever backtracks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pillarbox.imap.mailbox_name import DELIMITER

_WILDCARDS = re.compile(r"[*%]{2,}")

Matches = Callable[[str], bool]


class ListMatcher:
    """Any of several patterns under one reference. `INBOX` matches in any case."""

    __slots__ = ("_inbox", "_matches")

    def __init__(self, reference: str, patterns: Iterable[str]) -> None:
        whole = [_inbox_prefix(reference + pattern) for pattern in patterns]
        self._matches = [compile_pattern(pattern) for pattern in whole]
        self._inbox = any(compile_pattern(pattern.upper())("INBOX") for pattern in whole)

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
    pattern = _WILDCARDS.sub(lambda run: "*" if "*" in run[0] else "%", pattern)
    head, last = pattern[:-1], pattern[-1:]
    if "*" not in head and "%" not in head:
        if last == "*":
            return lambda name: name.startswith(head)
        if last == "%":
            size = len(head)
            return lambda name: name.startswith(head) and DELIMITER not in name[size:]
        return lambda name: name == pattern
    return _automaton(pattern)


def _automaton(pattern: str) -> Matches:
    # State i: the first i characters of the pattern are matched; bit i of `states` says that it is possible.
    steps: dict[str, int] = {}  # character -> states that it may leave
    anything = 0  # states in which any character is taken without moving
    level = 0  # the same for any character but the delimiter
    for at, character in enumerate(pattern):
        bit = 1 << at
        if character == "*":
            anything |= bit
            level |= bit
        elif character == "%":
            level |= bit
        else:
            steps[character] = steps.get(character, 0) | bit
    final = 1 << len(pattern)
    start = 1 | (2 if level & 1 else 0)
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
