"""Text as words, for finding mail by them: what the search index holds, and what a text is looked up as.

Case, accents and compatibility forms make no difference. A word is a run of letters, digits and their marks. Scripts
that put no spaces between words (Chinese, Japanese, Thai ...; Korean too, whose words carry endings) are cut into pairs
of neighbouring characters, so that any piece of a text is found.

`folded(text)` and `sought(text)` give words between single spaces. A text holds what is sought when the sought words
stand in it one after the other, the last one perhaps as the beginning of a longer word:
`(" " + sought(x)) in (" " + folded(text))`. The index gives the same answer.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 64  # characters of a word that count

_ASCII = re.compile(r"[^0-9a-z]+")
# Letters and digits, and the signs of scripts whose vowels are marks (Devanagari to Sinhala, Thai to Myanmar, Khmer).
_WORD = re.compile(
    "(?:[^\\W_]|[\u0900-\u0963\u0970-\u0df3\u0e30-\u0e4e\u0eb0-\u0ecd\u0f71-\u0fbc\u102b-\u103e\u17b4-\u17d3])+"
)
_MARKS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]+")
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")


def folded(text: str) -> str:
    """All words of a text."""
    return " ".join(_words(text, whole=True))


def sought(text: str) -> str:
    """The words that are looked for; "" when there is no word in the text."""
    return " ".join(_words(text, whole=False))


def holds(haystack: str, needle: str) -> bool:
    """Does `folded` text hold a `sought` one."""
    return f" {needle}" in f" {haystack}"


def _words(text: str, *, whole: bool) -> list[str]:
    if text.isascii():
        words = _ASCII.sub(" ", text.lower()).split()
    else:
        plain = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
        plain = unicodedata.normalize("NFC", plain).casefold()
        words = _WORD.findall(plain)
        if _HAS_UNSPACED.search(plain):
            words = _paired(words, whole=whole)
    if any(len(word) > LONGEST for word in words):
        words = [word[:LONGEST] for word in words]
    return words


def _paired(words: list[str], *, whole: bool) -> list[str]:
    found: list[str] = []
    runs = [run for word in words for run in _RUN.findall(word)]
    for at, run in enumerate(runs):
        if not _HAS_UNSPACED.match(run):
            found.append(run)
            continue
        found += [run[i : i + 2] for i in range(len(run) - 1)]
        # The last character alone, for those who look for it; in what is sought only where another word follows.
        if whole or len(run) == 1 or at + 1 < len(runs):
            found.append(run[-1])
    return found
