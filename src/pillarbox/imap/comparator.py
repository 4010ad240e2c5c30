"""Comparators (RFC 4790): by which one SEARCH, SORT and THREAD compare texts, and how clients ask for one (RFC 5255).

A comparator is the key that it makes of a text: one text is found in another, or comes before it, when its key is or
does. i;ascii-numeric is not here: it finds no substrings, which SEARCH asks of all of them (RFC 5255 section 4.4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pillarbox.mime.casemap import casemap

_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


@dataclass(slots=True, frozen=True)
class Comparator:
    """`key` gives the keys. `words`: BODY and TEXT may look for words in the place of substrings; `reverse`: the order
    of SORT is turned round (RFC 4790 section 3.3)."""

    name: str
    key: Callable[[str], str]
    words: bool = False
    reverse: bool = False

    @property
    def selected(self) -> str:
        """How it is told: `i;octet`, `-i;octet`."""
        return f"-{self.name}" if self.reverse else self.name


def _ascii_casemap(text: str) -> str:
    """RFC 4790 section 9.2: the letters of ASCII in upper case, all else as it is."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


def _octets(text: str) -> str:
    """RFC 4790 section 9.3: as it is. Code points stand in the order of the octets of UTF-8."""
    return text


DEFAULT = Comparator("i;unicode-casemap", casemap, words=True)
_ALL = (DEFAULT, Comparator("i;ascii-casemap", _ascii_casemap), Comparator("i;octet", _octets))
_STARS = re.compile(r"\*+")


def choose(orders: Sequence[str]) -> tuple[Comparator, tuple[str, ...]] | None:
    """The comparator that the first order with a match stands for, and the names of all that any order matches, in
    the order of the orders (RFC 5255 section 4.7). None when there is none."""
    chosen: Comparator | None = None
    names: list[str] = []
    for order in orders:
        found = _matching(order)
        if found and chosen is None:
            chosen = replace(found[0], reverse=order.startswith("-"))
        names += [one.name for one in found]
    return None if chosen is None else (chosen, tuple(dict.fromkeys(names)))


def _matching(order: str) -> list[Comparator]:
    if order.lower() == "default":
        return [DEFAULT]
    parts = _STARS.split(order.lower().removeprefix("+") if order.startswith("+") else order.lower().removeprefix("-"))
    return [one for one in _ALL if _fits(parts, one.name)]


def _fits(parts: Sequence[str], name: str) -> bool:
    """Whether the name is these parts with anything between them."""
    first, *rest = parts
    if not rest:
        return name == first
    *middle, last = rest
    if not name.startswith(first) or not name.endswith(last) or len(first) + len(last) > len(name):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
