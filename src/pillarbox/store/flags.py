"""System flags as bits, and keywords as one sorted text (RFC 9051 section 2.3.2).

In a row `flags` is an INTEGER of these bits and `keywords` is '' or the keywords separated by one space, sorted without
regard to case. Keywords compare without regard to case; the spelling that came first stays.
"""

from __future__ import annotations

from collections.abc import Iterable

SEEN = 1
ANSWERED = 2
FLAGGED = 4
DELETED = 8
DRAFT = 16

ALL = SEEN | ANSWERED | FLAGGED | DELETED | DRAFT

NAMES: tuple[tuple[int, str], ...] = (
    (ANSWERED, "\\Answered"),
    (FLAGGED, "\\Flagged"),
    (DELETED, "\\Deleted"),
    (SEEN, "\\Seen"),
    (DRAFT, "\\Draft"),
)


def join_keywords(keywords: Iterable[str]) -> str:
    """The column's text for these keywords: unique without regard to case, sorted."""
    unique: dict[str, str] = {}
    for keyword in keywords:
        unique.setdefault(keyword.lower(), keyword)
    return " ".join(unique[key] for key in sorted(unique))


def split_keywords(text: str) -> tuple[str, ...]:
    """The keywords in a column's text."""
    return tuple(text.split(" ")) if text else ()
