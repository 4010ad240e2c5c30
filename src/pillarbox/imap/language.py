"""The languages of what the server says to people (RFC 5255 section 3): English, which is the default too."""

from __future__ import annotations

from collections.abc import Sequence

DEFAULT = "i-default"  # RFC 2277 section 4.5: what anybody can read who reads English
SUPPORTED = ("en", DEFAULT)


def look_up(ranges: Sequence[str]) -> str | None:
    """The language for these ranges, the best first, by the lookup of RFC 4647 section 3.4; None: none of them is here.

    "default" and "*" are content with any.
    """
    for wanted in ranges:
        words = wanted.lower().split("-")
        if words in (["default"], ["*"]):
            return DEFAULT
        while words:
            if (tag := "-".join(words)) in SUPPORTED:
                return tag
            words.pop()
            if words and len(words[-1]) == 1:  # such a word says something of the one behind it
                words.pop()
    return None
