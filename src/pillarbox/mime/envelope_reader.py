"""What SORT and SEARCH ask of a stored ENVELOPE: addresses and the day, without reading the message again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from pillarbox.mime.date import parse_date
from pillarbox.mime.encoded_word import decode_words

FIELDS = {"from": 2, "sender": 3, "reply-to": 4, "to": 5, "cc": 6, "bcc": 7}

_TOKEN = re.compile(rb'[ ]*(?:"((?:[^"\\]|\\.)*)"|(NIL)|([()])|\{([0-9]+)\}\r\n)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DATE = re.compile(rb'\("((?:[^"\\]|\\.)*)"')
_DAY = 86400  # seconds


class Address(NamedTuple):
    """Of a group's beginning `host` is "" and `mailbox` its name; of its end both are ""."""

    name: str
    mailbox: str
    host: str


def addresses(envelope: bytes, field: str, most: int = 10_000) -> list[Address]:
    """The addresses of a field of FIELDS, display names decoded; at most `most` of them."""
    wanted = FIELDS[field]
    found = (_address(values) for element, values in _lists(envelope, wanted) if element == wanted)
    return list(islice(found, most))


def shown(envelope: bytes, fields: Iterable[str]) -> dict[str, list[str]]:
    """The addresses of some of FIELDS as they are looked through: `Name <mailbox@host>`, the name of a group."""
    names = {FIELDS[field]: field for field in fields}
    found: dict[str, list[str]] = {field: [] for field in names.values()}
    for element, values in _lists(envelope, max(names)):
        if element in names:
            one = _address(values)
            found[names[element]].append(f"{one.name} <{one.mailbox}@{one.host}>" if one.host else one.mailbox)
    return found


def _lists(envelope: bytes, last: int) -> Iterator[tuple[int, list[bytes]]]:
    """The four texts of each address, with the number of its field, up to the field of number `last`."""
    at, element, depth = 0, -1, 0
    values: list[bytes] = []
    while (match := _TOKEN.match(envelope, at)) is not None:
        at = match.end()
        quoted, nil, bracket, size = match.groups()
        if bracket == b"(":
            depth += 1
            element += depth == 2
            values = []
        elif bracket == b")":
            if depth == 3 and len(values) == 4:
                yield element, values
            depth -= 1
            if depth == 1 and element >= last:
                return
        elif depth == 1:
            element += 1
            if element > last:
                return
        else:
            if size is not None:
                quoted, at = envelope[at : at + int(size)], at + int(size)
            elif nil is not None:
                quoted = b""
            elif b"\\" in quoted:
                quoted = _ESCAPED.sub(rb"\1", quoted)
            values.append(quoted)
            continue
        if size is not None:  # a literal among the texts of the envelope itself
            at += int(size)


def _address(values: list[bytes]) -> Address:
    name, _, mailbox, host = values
    return Address(decode_words(name) if name else "", _text(mailbox), _text(host))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def sent_day(envelope: bytes) -> int | None:
    """Days from 1970-01-01 to the day that the Date field names, in the sender's zone (RFC 9051 section 6.4.4)."""
    quoted = _DATE.match(envelope)
    sent = parse_date(quoted[1]) if quoted else None
    return None if sent is None else (sent[0] + sent[1] * 60) // _DAY
