"""A strict reader of rendered ENVELOPE and BODYSTRUCTURE, after the ABNF of RFC 3501 section 9. Only for tests.

It accepts what a client that enabled nothing must accept and not an octet more, and raises AssertionError otherwise.
Strings come out as bytes, NIL as None, numbers as int, lists as list.
"""

from __future__ import annotations

import re
from typing import Any

_QUOTED = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]|\\["\\])*+)"')
_LITERAL = re.compile(rb"\{(0|[1-9][0-9]*)\}\r\n")
_NUMBER = re.compile(rb"0|[1-9][0-9]*")


def read(data: bytes) -> Any:
    """The one value in `data`."""
    value, end = _value(data, 0)
    assert end == len(data), f"something follows: {data[end : end + 40]!r}"
    return value


def _value(data: bytes, start: int) -> tuple[Any, int]:
    """Lists are read with a stack of our own: a message may nest deeper than Python likes to call."""
    open_lists: list[list[Any]] = []
    at, separated = start, True
    while True:
        if data[at : at + 1] == b"(":
            # SP between values, except between the addresses and between the parts of a list: list after list.
            assert separated or (open_lists and isinstance(open_lists[-1][-1], list)), "no space before a list"
            open_lists.append([])
            at, separated = at + 1, True
            continue
        value: Any
        if data[at : at + 1] == b")":
            assert open_lists, "no list is open"
            value = open_lists.pop()
            assert value, "an empty list"
            assert not (separated and data[at - 1 : at] == b" "), "a space before )"
            at += 1
        else:
            assert separated, f"no space before {data[at : at + 40]!r}"
            value, at = _string(data, at)
        if not open_lists:
            return value, at
        open_lists[-1].append(value)
        separated = data[at : at + 1] == b" "
        at += separated


def _string(data: bytes, at: int) -> tuple[Any, int]:
    if data.startswith(b"NIL", at):
        return None, at + 3
    if match := _QUOTED.match(data, at):
        return re.sub(rb"\\(.)", rb"\1", match[1]), match.end()
    if match := _LITERAL.match(data, at):
        end = match.end() + int(match[1])
        value = data[match.end() : end]
        assert len(value) == int(match[1]), "the literal is cut off"
        assert b"\0" not in value, "NUL in a literal"
        return value, end
    match = _NUMBER.match(data, at)
    assert match, f"neither string nor number nor NIL: {data[at : at + 40]!r}"
    return int(match[0]), match.end()


def check_envelope(value: Any) -> None:
    """`envelope` of the ABNF, with the rules of section 7.4.2 on NIL."""
    assert isinstance(value, list) and len(value) == 10, "an envelope has ten fields"
    for i in (0, 1, 8, 9):
        assert value[i] is None or isinstance(value[i], bytes), f"field {i} is no nstring"
    for addresses in value[2:8]:
        if addresses is None:
            continue
        group = False
        for address in addresses:
            assert isinstance(address, list) and len(address) == 4
            name, route, mailbox, host = address
            assert all(part is None or isinstance(part, bytes) for part in address)
            if host is not None:
                assert mailbox is not None, "a host without a mailbox"
            elif mailbox is not None:
                assert not group, "a group in a group"
                assert name is None and route is None
                group = True
            else:
                assert group and name is None and route is None, "the end of no group"
                group = False
        assert not group or len(addresses) >= 1000, "a group without an end"
    if value[2] is not None:
        assert value[3] is not None and value[4] is not None, "Sender and Reply-To default to From"


def check_body(value: Any, extended: bool) -> None:
    """`body` of the ABNF; without extension data unless `extended`. Every multipart and message checked within."""
    waiting = [value]
    while waiting:
        body = waiting.pop()
        assert isinstance(body, list)
        if isinstance(body[0], list):
            count = next(i for i, item in enumerate(body) if not isinstance(item, list))
            waiting.extend(body[:count])
            assert isinstance(body[count], bytes), "no media subtype"
            rest = body[count + 1 :]
            assert len(rest) == (4 if extended else 0)
            if extended:
                _check_parameters(rest[0])
                _check_extension(rest[1:])
            continue
        kind, subtype, parameters, cid, description, encoding, size, *rest = body
        assert isinstance(kind, bytes) and isinstance(subtype, bytes) and isinstance(encoding, bytes)
        _check_parameters(parameters)
        assert cid is None or isinstance(cid, bytes)
        assert description is None or isinstance(description, bytes)
        assert isinstance(size, int)
        if kind.upper() == b"TEXT":
            assert isinstance(rest.pop(0), int), "no number of lines"
        elif kind.upper() == b"MESSAGE" and subtype.upper() in (b"RFC822", b"GLOBAL"):
            envelope, child, lines, *rest = rest
            check_envelope(envelope)
            waiting.append(child)
            assert isinstance(lines, int)
        else:
            assert kind.upper() != b"MULTIPART"
        assert len(rest) == (4 if extended else 0)
        if extended:
            assert rest[0] is None or isinstance(rest[0], bytes)
            _check_extension(rest[1:])


def _check_parameters(value: Any) -> None:
    if value is not None:
        assert isinstance(value, list) and len(value) % 2 == 0
        assert all(isinstance(item, bytes) for item in value)


def _check_extension(value: list[Any]) -> None:
    disposition, language, location = value
    if disposition is not None:
        assert isinstance(disposition, list) and len(disposition) == 2 and isinstance(disposition[0], bytes)
        _check_parameters(disposition[1])
    assert language is None or isinstance(language, bytes) or all(isinstance(tag, bytes) for tag in language)
    assert location is None or isinstance(location, bytes)


def leaf_sizes(value: Any, numbers: tuple[int, ...] = ()) -> dict[tuple[int, ...], int]:
    """The size of every part but multiparts, by its part numbers as a client counts them (RFC 3501 section 6.4.5)."""
    sizes: dict[tuple[int, ...], int] = {}
    waiting: list[tuple[Any, tuple[int, ...]]] = [(value, numbers if isinstance(value[0], list) else (*numbers, 1))]
    while waiting:
        body, path = waiting.pop()
        if isinstance(body[0], list):
            children = [item for item in body if isinstance(item, list)]
            children = children[: next(i for i, item in enumerate(body) if not isinstance(item, list))]
            waiting.extend((child, (*path, i)) for i, child in enumerate(children, 1))
            continue
        sizes[path] = body[6]
        if body[0].upper() == b"MESSAGE" and body[1].upper() in (b"RFC822", b"GLOBAL"):
            child = body[8]
            waiting.append((child, path if isinstance(child[0], list) else (*path, 1)))
    return sizes
