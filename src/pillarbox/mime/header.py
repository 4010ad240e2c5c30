"""A header block: its fields, selection of fields with their octets kept, and decoded values.

A header block is everything before a body with the empty line in it. Lines may end in CRLF or in a bare LF (messages
that came by BDAT or from files). A line that is neither a field nor a continuation (an mbox `From ` line, for example)
belongs to no field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pillarbox.mime.encoded_word import decode_words

MAX_HEADER = 256 * 1024  # octets of one header block that are read; what follows in it is kept but not understood

# One match a line group, no gaps, possessive: linear whatever the input. RFC 5322 section 3.6.8 has the name, section
# 4.5 the white space before the colon.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:((?:[^\n]*+\n)(?:[ \t][^\n]*+\n)*+)|[^\n]*+\n")

_FEW = 64  # names that are looked for by a pattern of their own

_NUL_AWAY = bytes([0x80, *range(1, 256)])

_FOLD = re.compile(rb"\r?\n[ \t]*+")

# What lists of messages show. The set is part of the stored form (`listed_fields`): a longer one is another form.
LISTED = frozenset(
    b"from sender reply-to to cc bcc subject date message-id in-reply-to references return-path mail-followup-to "
    b"mail-reply-to newsgroups followup-to content-type content-transfer-encoding mime-version priority x-priority "
    b"importance x-msmail-priority list-id list-post list-help list-unsubscribe list-subscribe precedence "
    b"disposition-notification-to x-label x-draft-info x-mozilla-status x-mozilla-draft-info x-spam-flag".split()
)
LISTED_SIZE = 2048  # octets of them that are kept
_LISTED_HEADER = 64 * 1024  # octets of a header block in which they are looked for

# Fields whose repetitions (RFC 5322 forbids them) are read as one list; of all others the first one counts.
_MERGED = frozenset((b"to", b"cc", b"bcc"))


def fields_of(block: bytes) -> dict[bytes, bytes]:
    """The fields of a header block by lower-case name: raw values, still folded, with their line ends."""
    fields: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for spelled, value in _FIELD.findall(block if block[-1:] == b"\n" else block + b"\n"):
        if spelled:
            name = spelled.lower()
            if name not in fields:
                fields[name] = value
            elif name in _MERGED:
                repeated.setdefault(name, [fields[name]]).append(value)
    for name, values in repeated.items():
        fields[name] = b",".join(values)
    return fields


def unfold(value: bytes) -> bytes:
    """A raw value without its line ends (RFC 5322 section 2.2.3) and without white space at both ends."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t")


def text_of(value: bytes) -> str:
    """A raw value as text: a fold counts as one space (RFC 5256 section 2.1), encoded words decoded (RFC 2047)."""
    if b"\n" in value:
        value = _FOLD.sub(b" ", value)
    return decode_words(value.strip(b" \t"))


def select_fields(header: bytes, names: Iterable[bytes], invert: bool = False) -> bytes:
    """IMAP HEADER.FIELDS (with `invert`: HEADER.FIELDS.NOT): the fields of these names, octets and order kept.

    Names are compared without case. The answer ends with an empty line. Lines that belong to no field are left out.
    """
    wanted = frozenset(name.lower() for name in names)
    block = header if header[-1:] == b"\n" else header + b"\r\n"
    if not invert and len(wanted) <= _FEW:
        return b"".join(_those(wanted).findall(block)) + b"\r\n"
    kept = []
    for match in _FIELD.finditer(block):
        name = match[1]
        if name is not None and (name.lower() in wanted) != invert:
            kept.append(match[0])
    kept.append(b"\r\n")
    return b"".join(kept)


def select_in_each(headers: Sequence[bytes], names: frozenset[bytes]) -> list[bytes]:
    """`select_fields` of many small headers, without the empty line at the end: all of them are looked through at once.

    `names` in lower case, at most 64; each header is empty or ends with a line end. A NUL in one becomes 0x80.
    """
    if b"\0" in b"".join(headers):
        headers = [header.translate(_NUL_AWAY) for header in headers]
    text = b"\n%b\0\n" % b"\0\n".join(headers)
    return b"\n".join([*_those_or_end(names).findall(text), b""]).split(b"\0\n")[: len(headers)]


@lru_cache(maxsize=64)
def _those_or_end(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Matches the fields of these names without their last line end, and what stands between headers. The search goes
    from one line end to the next, which takes two thirds of one for the beginnings of lines."""
    any_of = b"|".join(re.escape(name) for name in sorted(names)) or b"(?!)"
    return re.compile(rb"\n((?:%b)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*|\0)" % any_of, re.I)


@lru_cache(maxsize=64)
def _those(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Matches the fields of these names: a third of the time of looking at every field."""
    any_of = b"|".join(re.escape(name) for name in sorted(names)) or b"(?!)"
    return re.compile(rb"^(?:%b)[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+" % any_of, re.M | re.I)


def listed_fields(block: bytes) -> bytes | None:
    """The fields of LISTED in a header block, octets and order kept, without an empty line; None when they are many.

    None also when the block does not begin with a field: its first line would belong to what is put before it.
    """
    if len(block) > _LISTED_HEADER or block[:1] in (b" ", b"\t"):
        return None
    kept = select_fields(block, LISTED)[:-2]
    return kept if len(kept) <= LISTED_SIZE else None


def raw_values(header: bytes, name: bytes) -> list[bytes]:
    """Every value of a field, unfolded, as sent."""
    return [unfold(value) for value in _values(header, name)]


def _values(header: bytes, name: bytes) -> list[bytes]:
    name = name.lower()
    block = header if header[-1:] == b"\n" else header + b"\r\n"
    return [match[2] for match in _FIELD.finditer(block) if match[1] is not None and match[1].lower() == name]


def decoded_value(header: bytes, name: bytes) -> list[str]:
    """Every value of a field as text (see `text_of`)."""
    return [text_of(value) for value in _values(header, name)]


def header_text(header: bytes) -> str:
    """A whole header block as text for searching: one decoded `Name: value` a line."""
    block = header[:MAX_HEADER]
    block = block if block[-1:] == b"\n" else block + b"\n"
    return "\n".join(f"{name.decode('ascii')}: {text_of(value)}" for name, value in _FIELD.findall(block) if name)
