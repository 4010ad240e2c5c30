"""Address lists of header fields (RFC 5322 section 3.4 with the obsolete syntax of 4.4), read forgivingly.

An address is what IMAP's ENVELOPE shows (RFC 9051 section 7.5.2): `(name, route, mailbox, host)`, octets as sent with
quoting and comments removed, encoded words left alone. A group is a start `(None, None, name, None)`, its members, and
an end `(None, None, None, None)`. A host that the sender left out is b"" (None would mean a group).
"""

from __future__ import annotations

import re

MAX_ADDRESSES = 1000  # entries of one list; the rest is not read

Address = tuple[bytes | None, bytes | None, bytes | None, bytes | None]
GROUP_END: Address = (None, None, None, None)

# What nearly every address looks like: `Name <local@host>`, `"Name" <local@host>`, `local@host`.
_ATEXT = rb"[!#$%&'*+/=?^_`{|}~A-Za-z0-9-]"
_SPEC = rb"(" + _ATEXT + rb"[.!#$%&'*+/=?^_`{|}~A-Za-z0-9-]*+)@([A-Za-z0-9.-]++)"
_SIMPLE = re.compile(
    rb"[ \t]*+(?:(?:\"([^\"\\\r\n]*+)\"|((?:(?!\.)[.!#$%&'*+/=?^_`{|}~A-Za-z0-9-]++[ ]?)*+))[ \t]*+<" + _SPEC + rb">"
    rb"|" + _SPEC + rb")[ \t\r\n]*+(,|\Z)"
)

_TOKEN = re.compile(
    rb'[ \t\r\n]++|"((?:[^"\\]++|\\.)*+)"|(\[[^\[\]]*+\])|([<>,:;@()])|([^ \t\r\n"<>,:;@()\[]++)|.', re.S
)
_TOKEN_UNQUOTED = re.compile(rb'[ \t\r\n]++|(?!)()|(\[[^\[\]]*+\])|([<>,:;@()])|([^ \t\r\n"<>,:;@()\[]++)|.', re.S)
_COMMENT_PIECE = re.compile(rb"[()]|\\.|[^()\\]++|\\", re.S)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.S)
_FOLDS = re.compile(rb"\r?\n")


def parse_addresses(value: bytes, limit: int = MAX_ADDRESSES) -> list[Address]:
    """The addresses of a raw field value, at most `limit` entries, linear in its length. Never raises."""
    found: list[Address] = []
    at = 0
    while len(found) < limit:
        match = _SIMPLE.match(value, at)
        if match is None:
            break
        quoted, phrase, local, host, bare_local, bare_host, end = match.groups()
        if bare_local is not None:
            found.append((None, None, bare_local, bare_host))
        else:
            name = quoted if quoted is not None else phrase.rstrip(b" ")
            found.append((name or None, None, local, host))
        at = match.end()
        if not end:
            return found
    rest = value[at:]
    if len(found) < limit and rest.strip(b" \t\r\n"):
        _Parser(found, limit).parse(rest)
    return found


class _Parser:
    """The full grammar, a token at a time. `words` are those since the last separator."""

    __slots__ = ("angle", "comment", "found", "group", "limit", "words")

    def __init__(self, found: list[Address], limit: int) -> None:
        self.found = found
        self.limit = limit
        self.words: list[bytes] = []  # "@" stands for itself; a quoted or literal word never is that single octet
        self.angle: Address | None = None
        self.comment = b""
        self.group = False

    def parse(self, value: bytes) -> None:
        token, at, end = _TOKEN, 0, len(value)
        while at < end and len(self.found) < self.limit:
            match = token.match(value, at)
            if match is None:
                break
            at = match.end()
            kind = match.lastindex
            if kind == 1:
                self.words.append(_unquoted(match[1]))
            elif kind == 2:
                self.words.append(_FOLDS.sub(b"", match[2]))
            elif kind == 4:
                self.words.append(match[4])
            elif kind == 3:
                at = self._special(match[3], value, at, token)
            elif match[0] == b'"' and token is _TOKEN:
                # A quote that never ends: no later one can be trusted, and looking again each time would be quadratic.
                token = _TOKEN_UNQUOTED
        self._flush()
        if self.group:
            self._add(GROUP_END)

    def _special(self, special: bytes, value: bytes, at: int, token: re.Pattern[bytes]) -> int:
        if special == b",":
            self._flush()
        elif special == b"@":
            self.words.append(b"@")
        elif special == b"(":
            self.comment, at = _comment(value, at)
        elif special == b"<":
            at = self._route_addr(value, at, token)
        elif special == b":" and not self.group:
            name = _phrase(self.words)
            self.words.clear()
            self._add((None, None, name, None))
            self.group = True
        elif special == b";":
            self._flush()
            if self.group:
                self._add(GROUP_END)
                self.group = False
        return at

    def _route_addr(self, value: bytes, at: int, token: re.Pattern[bytes]) -> int:
        """What is between "<" and ">": `[@a,@b:] local@host`. Without a ">" it ends before the next "<" or ","."""
        name = _phrase(self.words)
        self.words.clear()
        if self.angle is not None:
            self._flush()  # `<a@b> <c@d>`, without a comma: a reader may take either for the address
        words: list[bytes] = []
        route: bytes | None = None
        end = len(value)
        while at < end:
            match = token.match(value, at)
            if match is None or match[0] == b"<" or (match[0] == b"," and (route is not None or words[:1] != [b"@"])):
                break
            at = match.end()
            if match[3] == b">":
                break
            if match[3] == b":" and route is None and words[:1] == [b"@"]:
                route = b"".join(words)
                words.clear()
            elif match[3] == b"(":
                self.comment, at = _comment(value, at)
            elif match.lastindex == 1:
                words.append(_unquoted(match[1]))
            elif match.lastindex is not None:
                words.append(match[0])
        local, host, before = _split(words)
        if b"@" in before:
            local = b"".join(before) + local  # two addresses between the brackets are none of the two
        self.angle = (name or None, route, local, host)
        return at

    def _flush(self) -> None:
        """The end of one entry."""
        name = self.comment or None
        if self.angle is not None:
            display, route, local, host = self.angle
            self._add((display or _phrase(self.words) or name, route, local, host))
        elif self.words:
            if b"@" in self.words:
                local, host, before = _split(self.words)
                name = _phrase(before) or name
            else:
                local, host = _phrase(self.words), b""
            self._add((name, None, local, host))
        self.words.clear()
        self.angle = None
        self.comment = b""

    def _add(self, address: Address) -> None:
        if len(self.found) < self.limit:
            self.found.append(address)


def _split(words: list[bytes]) -> tuple[bytes, bytes, list[bytes]]:
    """Local part and host around the last "@", and the words before them, which are a name without angle brackets.

    Space is allowed around the dots (RFC 5322 section 4.4), so a word that begins or ends with one goes on.
    """
    for i in range(len(words) - 1, -1, -1):
        if words[i] == b"@":
            break
    else:
        return b"".join(words), b"", []
    start = i - 1
    while start > 0 and (b"@" in words[start - 1 : start + 1] or _dotted(words[start - 1], words[start])):
        start -= 1
    end = i + 2
    while end < len(words) and _dotted(words[end - 1], words[end]):
        end += 1
    start = max(start, 0)
    return b"".join(words[start:i]), b"".join(words[i + 1 : end]), words[:start]


def _dotted(word: bytes, following: bytes) -> bool:
    return word[-1:] == b"." or following[:1] == b"."


def _phrase(words: list[bytes]) -> bytes:
    phrase = b" ".join(words)
    return phrase.replace(b" @ ", b"@") if b"@" in words else phrase  # an address shown as the name of itself


def _unquoted(text: bytes) -> bytes:
    if b"\n" in text:
        text = _FOLDS.sub(b"", text)
    return _QUOTED_PAIR.sub(rb"\1", text) if b"\\" in text else text


def _comment(value: bytes, at: int) -> tuple[bytes, int]:
    """The text of a comment whose "(" is before `at`, and where it ends; comments nest (RFC 5322 section 3.2.2)."""
    start, depth, end = at, 1, len(value)
    while at < end:
        match = _COMMENT_PIECE.match(value, at)
        if match is None:
            break
        at = match.end()
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if depth == 0:
                return _unquoted(value[start : at - 1]).strip(b" \t"), at
    return _unquoted(value[start:]).strip(b" \t"), end
