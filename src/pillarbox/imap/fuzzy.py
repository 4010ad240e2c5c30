"""FUZZY (RFC 6203): what a fuzzy search looks for, and how well a message fits it.

A fuzzy text is found in three ways, each looser than the one before: as it stands (relevancy 100), as its words in any
order (75), and as the beginnings of its words, so that other endings fit too (50). Keys without texts stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.imap.search import All, And, Body, Fuzzy, Header, Key, Not, Or, Text, leaves
from pillarbox.mime.words import sought

LEVELS = (100, 75, 50)  # relevancy, from the strictest to the loosest way

MAX_WORDS = 20  # of one fuzzy text; each is looked up
_KEEP = 4  # characters of a word that always stay


def is_fuzzy(key: Key) -> bool:
    """Is any part of a program fuzzy."""
    return any(isinstance(one, Fuzzy) for one in leaves(key))


def plain(key: Key, relevancy: int) -> Key:
    """The program without FUZZY: what has at least this relevancy (of LEVELS)."""
    match key:
        case Fuzzy(one):
            return _loose(one, relevancy)
        case And(keys=keys):
            return And(tuple(plain(one, relevancy) for one in keys))
        case Or(keys=keys):
            return Or(tuple(plain(one, relevancy) for one in keys))
        case Not(key=one):
            return Not(plain(one, relevancy))
    return key


def _loose(key: Key, relevancy: int) -> Key:
    match key:
        case Fuzzy(one):
            return _loose(one, relevancy)
        case And(keys=keys):
            return And(tuple(_loose(one, relevancy) for one in keys))
        case Or(keys=keys):
            return Or(tuple(_loose(one, relevancy) for one in keys))
        case Not(key=one):
            return Not(plain(one, relevancy))  # looser inside would be stricter outside
        case Body(text):
            return _words(key, text, relevancy, Body)
        case Text(text):
            return _words(key, text, relevancy, Text)
        case Header(field, text, envelope):
            return _words(key, text, relevancy, lambda word: Header(field, word, envelope))
    return key


def _words(key: Key, text: str, relevancy: int, make: Callable[[str], Key]) -> Key:
    words = list(dict.fromkeys(sought(text).split()))[:MAX_WORDS]
    if relevancy == LEVELS[0] or not words:
        return key
    parts = tuple(make(word if relevancy == LEVELS[1] else beginning(word)) for word in words)
    return Or((key, And(parts))) if parts else All()


def beginning(word: str) -> str:
    """A word without what may be its ending: a third of it, at least four characters stay."""
    return word[: max(_KEEP, len(word) - len(word) // 3)]
