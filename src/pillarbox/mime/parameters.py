"""Parameters of Content-Type and Content-Disposition (RFC 2045 section 5.1, RFC 2183, RFC 2231)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from pillarbox.mime.charset import decode
from pillarbox.mime.encoded_word import decode_words

Pairs = list[tuple[bytes, bytes]]

MAX_PARAMETERS = 100
_MAX_SECTIONS = 999

TOKEN = rb"[!#$%&'*+.^_`{|}~0-9A-Za-z-]{1,127}+"  # 127: RFC 6838 section 4.2

# Every match begins where the last one ended and takes a parameter or one junk word: linear. A value without quotes
# may hold spaces (`filename=my report.pdf`) unless the next word is a parameter again (a forgotten semicolon).
_PARAMETER = re.compile(
    rb"[;\s]*+(?:"
    rb"([^\s=;\"]++)\s*+=\s*+(?:\"((?:[^\"\\]++|\\.)*+)\"?|((?:[^;\s]++|\s++(?![^\s=;\"]++\s*+=))*+))"
    rb"|[^;\s]++|\Z)",
    re.S,
)
_SECTION = re.compile(rb"([^*]+)\*(?:([0-9]{1,3})(\*)?)?")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.S)
_NOT_ATTRIBUTE = re.compile(rb"[^A-Za-z0-9!#$&+.^_`{|}~-]")


def parse_parameters(value: bytes) -> Pairs:
    """The parameters after the type: names in lower case, values without quoting, sections joined.

    A parameter in RFC 2231 form keeps its value as sent (`utf-8''caf%C3%A9`) under the name with a star (`filename*`).
    """
    pairs: Pairs = []
    sections = False
    for spelled, quoted, plain in _PARAMETER.findall(value):
        if not spelled:
            continue
        if quoted:
            text = quoted.replace(b"\r\n", b"").replace(b"\n", b"") if b"\n" in quoted else quoted
            if b"\\" in text:
                text = _QUOTED_PAIR.sub(rb"\1", text)
        else:
            text = _without_comment(plain)
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
    if b"(" in value:
        for opening in (b" (", b"\t("):
            value = value.partition(opening)[0]
        value = value.rstrip() if not value.startswith(b"(") else b""
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
