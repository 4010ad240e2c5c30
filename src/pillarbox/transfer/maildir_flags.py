"""Flags in the names of a Maildir's files: `unique:2,FRS`, keywords as letters that `dovecot-keywords` explains."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.imap.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, canonical_keyword

FORWARDED = "$Forwarded"
_LETTERS = (("D", DRAFT), ("F", FLAGGED), ("R", ANSWERED), ("S", SEEN), ("T", DELETED))
_BITS = dict(_LETTERS)
MOST_KEYWORDS = 26  # letters there are


def read(name: str, keywords: Sequence[str]) -> tuple[str, int, tuple[str, ...]]:
    """The unique part of a file's name, flags, and keywords."""
    unique, mark, letters = name.partition(":2,")
    if not mark:
        return name, 0, ()
    flags, words = 0, []
    for letter in letters.partition(",")[0]:
        flags |= _BITS.get(letter, 0)
        if letter == "P":
            words.append(FORWARDED)
        elif "a" <= letter <= "z" and ord(letter) - 97 < len(keywords):
            word = canonical_keyword(keywords[ord(letter) - 97])
            if word is not None:
                words.append(word)
    return unique, flags, tuple(words)


def letters(flags: int, words: Sequence[str], keywords: list[str]) -> str:
    """What stands behind `:2,`, in order. `keywords` are those of the folder; new ones are added while there is room,
    and those that find none are lost."""
    found = [letter for letter, bit in _LETTERS if flags & bit]
    for word in words:
        if word == FORWARDED:
            found.append("P")
            continue
        if word not in keywords and len(keywords) < MOST_KEYWORDS:
            keywords.append(word)
        if word in keywords:
            found.append(chr(97 + keywords.index(word)))
    return "".join(sorted(found))
