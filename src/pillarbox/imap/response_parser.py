"""What a server says, as values: the client's side of the grammar (RFC 9051 section 9, `response`).

A value is bytes (atom, quoted string, literal), int, None (NIL) or a list of values. Servers differ, so this reads what
is meant wherever that is clear: an atom is whatever stands between spaces and parentheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Value: TypeAlias = "bytes | int | list[Value] | None"

MAX_DEPTH = 100  # of parentheses
_ENDS = b" ()"


class ResponseError(Exception):
    """What the server says is no IMAP."""


def parse_values(parts: Sequence[bytes]) -> list[Value]:
    """The values of a response. `parts` are text and literals in turn, text first and last; each text but the last
    ends in the literal's announcement `{n}`, which is passed over. Raises ResponseError."""
    reader = _Reader(parts)
    return reader.values(0, closing=False)


class _Reader:
    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._part = 0
        self._text = parts[0]
        self._at = 0

    def values(self, depth: int, *, closing: bool) -> list[Value]:
        if depth > MAX_DEPTH:
            raise ResponseError("parentheses are nested too deeply")
        found: list[Value] = []
        while True:
            while self._text[self._at : self._at + 1] == b" ":
                self._at += 1
            if self._at >= len(self._text):
                if self._part + 1 < len(self._parts):
                    raise ResponseError("a literal stands where none was announced")
                if closing:
                    raise ResponseError("a parenthesis is not closed")
                return found
            octet = self._text[self._at]
            if octet == 0x28:  # (
                self._at += 1
                found.append(self.values(depth + 1, closing=True))
            elif octet == 0x29:  # )
                if not closing:
                    raise ResponseError("a parenthesis is closed that was not opened")
                self._at += 1
                return found
            elif octet == 0x22:  # "
                found.append(self._quoted())
            elif self._literal_here():
                found.append(self._literal())
            else:
                found.append(self._atom())

    def _quoted(self) -> bytes:
        text, at = self._text, self._at + 1
        out = bytearray()
        while True:
            quote, escape = text.find(b'"', at), text.find(b"\\", at)
            if quote < 0:
                raise ResponseError("a quoted string does not end")
            if 0 <= escape < quote:
                out += text[at:escape] + text[escape + 1 : escape + 2]
                at = escape + 2
                continue
            out += text[at:quote]
            self._at = quote + 1
            return bytes(out)

    def _literal_here(self) -> bool:
        """Whether the rest of this text announces the literal that follows it."""
        if self._part + 1 >= len(self._parts):
            return False
        rest = self._text[self._at :]
        return rest.startswith((b"{", b"~{")) and b" " not in rest

    def _literal(self) -> bytes:
        value = self._parts[self._part + 1]
        self._part += 2
        self._text, self._at = self._parts[self._part], 0
        return value

    def _atom(self) -> Value:
        """Up to a space or parenthesis; brackets may hold both, as in BODY[HEADER.FIELDS (SUBJECT)]."""
        text, start, at, brackets = self._text, self._at, self._at, 0
        while at < len(text):
            octet = text[at]
            if octet == 0x5B:
                brackets += 1
            elif octet == 0x5D:
                brackets -= 1
            elif brackets <= 0 and octet in _ENDS:
                break
            at += 1
        word = text[start:at]
        self._at = at
        if word.isdigit() and len(word) <= 20 and (word == b"0" or word[0] != 0x30):
            return int(word)  # what begins with a zero is a name: numbers never do (RFC 9051 section 9)
        return None if word.upper() == b"NIL" else word
