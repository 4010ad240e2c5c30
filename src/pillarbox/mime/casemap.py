"""i;unicode-casemap (RFC 5051): the key by which texts are compared and sorted without regard to case.

Each character becomes its title case and is then taken apart (compatibility too), so `É` and `é` and `É` are one.
Keys compare as text in the order of code points, which is that of the octets of their UTF-8.
"""

from __future__ import annotations

import unicodedata

_KEPT = 8192  # mappings that are remembered; a stranger's text may hold any character there is


class _Casemap(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        title = character.title()  # the simple mapping: one that makes two characters of one is left alone
        mapped = unicodedata.normalize("NFKD", title if len(title) == 1 else character)
        if len(self) < _KEPT:
            self[code] = mapped
        return mapped


_CASEMAP = _Casemap()


def casemap(text: str) -> str:
    """The key of a text: equal for texts that differ in case only, ordered as RFC 5051 says."""
    return text.upper() if text.isascii() else text.translate(_CASEMAP)
