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

# What lists of messages show. A set is part of the stored form (`listed_fields`), which says by a line of its own that
# the fields of the whole set are there: older versions knew the first ones.
LISTED_FIRST = frozenset(
    b"from sender reply-to to cc bcc subject date message-id in-reply-to references return-path mail-followup-to "
    b"mail-reply-to newsgroups followup-to content-type content-transfer-encoding mime-version priority x-priority "
    b"importance x-msmail-priority list-id list-post list-help list-unsubscribe list-subscribe precedence "
    b"disposition-notification-to x-label x-draft-info x-mozilla-status x-mozilla-draft-info x-spam-flag".split()
)
LISTED = LISTED_FIRST | frozenset(  # mutt, Evolution, K-9 and Thunderbird for Android, alpine
    b"content-description lines x-original-to content-class x-calendar-attachment x-mailing-list x-loop mailing-list "
    b"originator x-list x-beenthere x-k9mail-identity chat-version content-md5 content-disposition content-language "
    b"content-location".split()
)
_ALL = b"2\n"  # no field, and no line that folds one
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
    if not invert and len(wanted) <= _FEW:
        return _selected(header, wanted) + b"\r\n"
    block = header if header[-1:] == b"\n" else header + b"\r\n"
    kept = []
    for match in _FIELD.finditer(block):
        name = match[1]
        if name is not None and (name.lower() in wanted) != invert:
            kept.append(match[0])
    kept.append(b"\r\n")
    return b"".join(kept)


def _selected(header: bytes, names: frozenset[bytes]) -> bytes:
    block = b"\n" + header if header[-1:] == b"\n" else b"\n%b\r\n" % header
    return b"\n".join([*_those(names).findall(block), b""])


def select_in_each(headers: Sequence[bytes], names: frozenset[bytes]) -> list[bytes]:
    """`select_fields` of many small headers, without the empty line at the end: all of them are looked through at once.

    `names` in lower case, at most 64; each header is empty or ends with a line end. A NUL in one becomes 0x80.
    """
    if b"\0" in b"".join(headers):
        headers = [header.translate(_NUL_AWAY) for header in headers]
    text = b"\n%b\0\n" % b"\0\n".join(headers)
    return b"\n".join([*_those(names, rb"|\0").findall(text), b""]).split(b"\0\n")[: len(headers)]


@lru_cache(maxsize=64)
def _those(names: frozenset[bytes], other: bytes = b"") -> re.Pattern[bytes]:
    """Matches a line end and then a field of these names without its last line end, the group, or what `other` matches.

    Going from one line end to the next, and by the first letter of a name, takes less than half of looking at every
    field.
    """
    letters: dict[bytes, list[bytes]] = {}
    for name in sorted(filter(None, names)):
        letters.setdefault(name[:1], []).append(re.escape(name[1:]))
    any_of = b"|".join(re.escape(letter) + b"(?:%b)" % b"|".join(rests) for letter, rests in letters.items()) or b"(?!)"
    return re.compile(rb"\n((?:%b)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*%b)" % (any_of, other), re.I)


def listed_fields(block: bytes) -> bytes | None:
    """The fields of LISTED in a header block, octets and order kept, without an empty line, and a line that says so;
    None when they are many.

    None also when the block does not begin with a field: its first line would belong to what is put before it.
    """
    if len(block) > _LISTED_HEADER or block[:1] in (b" ", b"\t"):
        return None
    kept = _selected(block, LISTED)
    return kept + _ALL if len(kept) <= LISTED_SIZE else None


def lists_all(listed: bytes) -> bool:
    """Whether it has the fields of LISTED, and not only those of LISTED_FIRST."""
    return listed.endswith(b"\n" + _ALL) or listed == _ALL


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
