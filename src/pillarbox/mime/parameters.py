"""Parameters of Content-Type and Content-Disposition (RFC 2045 section 5.1, RFC 2183, RFC 2231)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from pillarbox.mime.charset import decode
from pillarbox.mime.encoded_word import decode_words

Pairs = list[tuple[bytes, bytes]]

MAX_PARAMETERS = 100

TOKEN = rb"[!#$%&'*+.^_`{|}~0-9A-Za-z-]{1,127}+"  # 127: RFC 6838 section 4.2

# A parameter up to its value (quoted, or the first word), or else one word of junk: every match begins where the last
# one ended, so the work is linear. (No possessive group may hold a repetition that can fail half-way: CPython before
# 3.11.5 does not go back then, gh-106052.)
_PARAMETER = re.compile(
    rb"[;\s]*+(?:([^\s=;\"]++)\s*+=\s*+(?:(\")((?:[^\"\\]++|\\.)*+)\"?|([^;\s]*+))|[^;\s]++|\Z)", re.S
)
# A value without quotes may go on (`filename=my report.pdf`) unless a parameter follows: a forgotten semicolon.
_NEXT_WORD = re.compile(rb"\s++(?![^\s=;\"]++\s*+=)[^;\s]++")
_SECTION = re.compile(rb"([^*]+)\*(?:([0-9]{1,3})(\*)?)?")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.S)
_NOT_ATTRIBUTE = re.compile(rb"[^A-Za-z0-9!#$&+.^_`{|}~-]")


def parse_parameters(value: bytes) -> Pairs:
    """The parameters after the type: names in lower case, values without quoting, sections joined.

    A parameter in RFC 2231 form keeps its value as sent (`utf-8''caf%C3%A9`) under the name with a star (`filename*`).
    """
    pairs: Pairs = []
    sections = False
    at, size = 0, len(value)
    while at < size:
        match = _PARAMETER.match(value, at)
        if match is None:
            break
        at = match.end()
        spelled, quote, text, word = match.groups()
        if spelled is None:
            continue
        if quote is not None:
            text = text.replace(b"\r\n", b"").replace(b"\n", b"") if b"\n" in text else text
            if b"\\" in text:
                text = _QUOTED_PAIR.sub(rb"\1", text)
        else:
            start = at - len(word)
            while (more := _NEXT_WORD.match(value, at)) is not None:
                at = more.end()
            text = _without_comment(value[start:at])
        name = spelled.lower()
        sections = sections or b"*" in name
        pairs.append((name, text))
        if len(pairs) == MAX_PARAMETERS:
            break
    return _joined(pairs) if sections else pairs


def _without_comment(value: bytes) -> bytes:
    value = value.rstrip()
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    if value[-1:] == b")":  # only at the end: `filename=copy (2).txt` means what it says
        value = value[: max(value.rfind(b" ("), value.rfind(b"\t("), 0 if value[:1] == b"(" else -1)].rstrip()
    return value


def _joined(pairs: Pairs) -> Pairs:
    """`name*0`, `name*1*`, ... as one parameter at the place of its first section (RFC 2231 section 3)."""
    out: list[tuple[bytes, bytes] | bytes] = []
    sections: dict[bytes, dict[int, tuple[bool, bytes]]] = {}
    for name, value in pairs:
        match = _SECTION.fullmatch(name)
        if match is None or match[2] is None:
            out.append((name, value))
            continue
        base = match[1]
        if base not in sections:
            sections[base] = {}
            out.append(base)
        sections[base].setdefault(int(match[2]), (match[3] is not None, value))
    joined: Pairs = []
    for entry in out:
        if isinstance(entry, tuple):
            joined.append(entry)
        else:
            joined.append(_join(entry, sections[entry]))
    return joined


def _join(base: bytes, sections: dict[int, tuple[bool, bytes]]) -> tuple[bytes, bytes]:
    ordered = [sections[number] for number in sorted(sections)]
    if not any(extended for extended, _ in ordered):
        return base, b"".join([value for _, value in ordered])
    pieces = [value if extended else _NOT_ATTRIBUTE.sub(_percent, value) for extended, value in ordered]
    if not ordered[0][0]:
        pieces.insert(0, b"''")  # no charset was given
    return base + b"*", b"".join(pieces)


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def text_of(pairs: Pairs, name: bytes) -> str | None:
    """A parameter as text: its RFC 2231 form when it is there, else with encoded words decoded; None when absent."""
    extended = name + b"*"
    plain: str | None = None
    for key, value in pairs:
        if key == extended:
            charset, quote, rest = value.partition(b"'")
            _language, second, text = rest.partition(b"'")
            if not quote or not second:
                return decode(unquote_to_bytes(value))
            return decode(unquote_to_bytes(text), charset.decode("ascii", "replace"))
        if key == name and plain is None:
            plain = decode_words(value)
    return plain
