"""One part out of a rendered BODYSTRUCTURE, by its numbers (RFC 9051 sections 6.4.5.1 and 7.5.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_OTHER = re.compile(rb'[^()"{]+')
_ATOM = re.compile(rb'[^ ()"{]+')

_ENCODING, _SIZE = 5, 6  # places in the list of a part
_INSIDE = 8  # of a message: the structure of what it holds
_MESSAGES = (b'"rfc822"', b'"global"')


def part_structure(structure: bytes, part: Sequence[int]) -> bytes | None:
    """The structure of a part, without numbers that of the whole; None when there is no such part."""
    found, whole = structure, True  # `whole`: what a message holds, of which a single part has the number 1
    for number in part:
        fields = list(elements(found))
        if not whole and _is_message(fields):
            found, whole = fields[_INSIDE], True
            fields = list(elements(found))
        if fields[0].startswith(b"("):
            if number > len(fields) or not fields[number - 1].startswith(b"("):
                return None
            found = fields[number - 1]
        elif not whole or number != 1:
            return None
        whole = False
    return found


def decoded_structure(structure: bytes, content: bytes) -> bytes:
    """The structure of a part as it is told with its content without the transfer encoding (RFC 5524 section 3.1)."""
    fields = list(elements(structure))
    if fields[0].startswith(b"(") or _is_message(fields):
        return structure
    encoding = b'"BINARY"' if b"\0" in content else b'"7BIT"' if content.isascii() else b'"8BIT"'
    fields[_ENCODING : _SIZE + 1] = [encoding, b"%d" % len(content)]
    return b"(%b)" % b" ".join(fields)


def elements(text: bytes) -> Iterator[bytes]:
    """The elements of a parenthesized list."""
    at = 1
    while text[at : at + 1] not in (b")", b""):
        if text[at : at + 1] == b" ":
            at += 1
            continue
        end = _end(text, at)
        yield text[at:end]
        at = end


def _end(text: bytes, at: int) -> int:
    """Where the element that begins here ends."""
    if text[at : at + 1] != b"(":
        return _string(text, at) or _matched(_ATOM, text, at)
    depth = 0
    while True:
        match text[at : at + 1]:
            case b"(":
                depth, at = depth + 1, at + 1
            case b")":
                depth, at = depth - 1, at + 1
                if not depth:
                    return at
            case _:
                at = _string(text, at) or _matched(_OTHER, text, at)


def _string(text: bytes, at: int) -> int:
    """The end of a quoted string or a literal, or 0."""
    if (quoted := _QUOTED.match(text, at)) is not None:
        return quoted.end()
    literal = _LITERAL.match(text, at)
    return literal.end() + int(literal[1]) if literal is not None else 0


def _matched(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise ValueError(f"not a body structure at {at}")
    return found.end()


def _is_message(fields: Sequence[bytes]) -> bool:
    return len(fields) > _INSIDE and fields[0].lower() == b'"message"' and fields[1].lower() in _MESSAGES
