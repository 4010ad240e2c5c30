"""The lexical part of the grammar: a cursor over one complete command (RFC 9051 section 9).

A command is its lines joined as they came, `{3}\\r\\nabc` standing where the literal was. Every method takes what it
names at the position and moves on, or raises `BadSyntax`. All patterns are linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import NoReturn, TypeVar

from pillarbox.imap import dates, flags, mailbox_name, sequence
from pillarbox.imap.sequence import SequenceSet

MAX_NUMBER64 = (1 << 63) - 1  # number64, mod-sequence-value

T = TypeVar("T")

# ATOM-CHAR is any 7-bit CHAR but ( ) { SP CTL % * " \ ]; ASTRING-CHAR has ] too; list-char has ] % * too.
_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_LIST_MAILBOX = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_SEQUENCE = re.compile(rb"[0-9:,*$]+")
_NUMBER = re.compile(rb"[0-9]{1,19}(?![0-9])")
_QUOTED = re.compile(rb'"([^"\\\r\n\x00]*(?:\\["\\][^"\\\r\n\x00]*)*)"')
_ESCAPE = re.compile(rb'\\(["\\])')
_LITERAL = re.compile(rb"\{([0-9]{1,19})\+?\}\r\n")
_LITERAL8 = re.compile(rb"~\{([0-9]{1,19})\+?\}\r\n")
_FLAG_LIST = re.compile(rb"\(([^()\"{}%*\x00-\x1f\x7f-\xff]*)\)")
_DATE_TIME = re.compile(rb'"([^"\\\r\n]{1,40})"')
_DATE = re.compile(rb'"([^"\\\r\n]{1,20})"|([0-9A-Za-z-]{1,20})')


class BadSyntax(Exception):
    """The command is not as the grammar wants it: answered BAD with this text and perhaps a code."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code


class Refused(Exception):
    """The command is well-formed but cannot be done: answered NO with `code` and this text."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code


class Cursor:
    """A position in the octets of one command. `enabled` is what ENABLE has turned on; `utf8`: names come in UTF-8."""

    __slots__ = ("at", "enabled", "text", "utf8")

    def __init__(
        self, text: bytes, at: int = 0, *, utf8: bool = False, enabled: AbstractSet[str] = frozenset()
    ) -> None:
        self.text = text
        self.at = at
        self.utf8 = utf8
        self.enabled = enabled

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.enabled

    def fail(self, wanted: str) -> NoReturn:
        """Raise `BadSyntax`, saying what was expected and what stands there."""
        found = self.text[self.at : self.at + 20].split(b"\r")[0].decode("ascii", "replace").replace("\ufffd", "?")
        raise BadSyntax(f"expected {wanted}" + (f" at {found!r}" if found.isprintable() and found else ""))

    # single characters

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    def end(self) -> None:
        """Nothing may follow."""
        if self.at < len(self.text):
            self.fail("the end of the command")

    def peek(self, text: bytes) -> bool:
        """Does this stand here (case matters: for punctuation)."""
        return self.text.startswith(text, self.at)

    def skip(self, text: bytes) -> bool:
        """Take this when it stands here."""
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def expect(self, text: bytes, name: str) -> None:
        if not self.skip(text):
            self.fail(name)

    def space(self) -> None:
        if not self.skip(b" "):
            self.fail("one space")

    def keyword(self, word: bytes) -> bool:
        """Take this upper-case word in any case when it stands here."""
        end = self.at + len(word)
        if self.text[self.at : end].upper() == word:
            self.at = end
            return True
        return False

    # words and strings

    def _match(self, pattern: re.Pattern[bytes], name: str) -> bytes:
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fail(name)
        self.at = found.end()
        return found[0]

    def atom(self, name: str = "an atom") -> bytes:
        return self._match(_ATOM, name)

    def word(self, name: str) -> str:
        """An atom as upper-case text: names of items, options and mechanisms."""
        return self._match(_ATOM, name).decode("ascii").upper()

    def string(self, name: str = "a string") -> bytes:
        """A quoted string or a literal."""
        found = _QUOTED.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
            value = found[1]
            return _ESCAPE.sub(rb"\1", value) if b"\\" in value else value
        found = _LITERAL.match(self.text, self.at)
        if found is None:
            self.fail(name)
        start = found.end()
        self.at = start + int(found[1])
        value = self.text[start : self.at]
        if b"\0" in value:
            raise BadSyntax("a literal holds no NUL, RFC 9051 section 4.3")
        return value

    def astring(self, name: str = "an atom or a string") -> bytes:
        found = _ASTRING.match(self.text, self.at)
        if found is None:
            return self.string(name)
        self.at = found.end()
        return found[0]

    def nstring(self, name: str = "a string or NIL") -> bytes | None:
        return None if self.keyword(b"NIL") else self.string(name)

    def decoded(self, name: str) -> str:
        """An astring in UTF-8."""
        try:
            return self.astring(name).decode("utf-8")
        except UnicodeDecodeError:
            raise BadSyntax(f"{name} is not UTF-8") from None

    def mailbox(self) -> str:
        return self._name(self.astring("a mailbox name"))

    def pattern(self) -> str:
        """A mailbox name with wildcards."""
        return self._name(self.pattern_octets("a mailbox name or pattern"))

    def pattern_octets(self, name: str) -> bytes:
        """`list-mailbox`: an astring with wildcards."""
        found = _LIST_MAILBOX.match(self.text, self.at)
        if found is None:
            return self.string(name)
        self.at = found.end()
        return found[0]

    def _name(self, raw: bytes) -> str:
        try:
            return mailbox_name.decode(raw, self.utf8)
        except mailbox_name.BadName as error:
            raise Refused(str(error), "CANNOT") from None

    def value(self, name: str) -> bytes | None:
        """A string, a literal8 or NIL."""
        found = _LITERAL8.match(self.text, self.at)
        if found is None:
            return self.nstring(name)
        self.at = found.end() + int(found[1])
        return self.text[found.end() : self.at]

    # numbers, sets, flags, dates

    def number(self, most: int = MAX_NUMBER64, name: str = "a number") -> int:
        value = int(self._match(_NUMBER, name))
        if value > most:
            raise BadSyntax(f"{name} is too large")
        return value

    def sequence(self) -> SequenceSet:
        text = self._match(_SEQUENCE, "a sequence set")
        found = sequence.parse(text)
        if found is None:
            raise BadSyntax("the sequence set is malformed")
        return found

    def known_set(self) -> SequenceSet:
        """A set without `*` and `$` (`known-sequence-set` of RFC 7162)."""
        found = self.sequence()
        if found.star or found.saved:
            raise BadSyntax("no * and no $ in a known set, RFC 7162 section 7")
        return found

    def flag_list(self) -> tuple[int, tuple[str, ...]]:
        """`(\\Seen $Junk)` -> bits and keywords."""
        found = _FLAG_LIST.match(self.text, self.at)
        if found is None:
            self.fail("a list of flags in parentheses")
        self.at = found.end()
        return flag_words(found[1])

    def date(self) -> int:
        found = _DATE.match(self.text, self.at)
        day = dates.parse_date(found[1] or found[2]) if found else None
        if found is None or day is None:
            self.fail("a date like 1-Feb-1994")
        self.at = found.end()
        return day

    def date_time(self) -> int:
        found = _DATE_TIME.match(self.text, self.at)
        moment = dates.parse_date_time(found[1]) if found else None
        if found is None or moment is None:
            self.fail('a date like "17-Jul-1996 02:44:25 -0700"')
        self.at = found.end()
        return moment

    # lists

    def parenthesized(self, element: Callable[[Cursor], T], most: int, name: str) -> list[T]:
        """`(a b c)`, one space between; may be empty; more than `most` elements are an error."""
        self.expect(b"(", f"( before {name}")
        elements: list[T] = []
        if self.skip(b")"):
            return elements
        while True:
            elements.append(element(self))
            if self.skip(b")"):
                return elements
            if len(elements) >= most:
                raise BadSyntax(f"more than {most} of {name}")
            self.space()


def flag_words(text: bytes) -> tuple[int, tuple[str, ...]]:
    """Flags between spaces -> bits and keywords without repeats. `\\Recent` is passed over: nobody can set it."""
    bits = 0
    keywords: dict[str, str] = {}
    for word in text.split(b" ") if text else ():
        name = word.decode("ascii")
        if name.startswith("\\"):
            bit = flags.BITS.get(name.lower())
            if bit is None and name.lower() != "\\recent":
                raise BadSyntax(f"there is no system flag {name}")
            bits |= bit or 0
            continue
        keyword = flags.canonical_keyword(name)
        if keyword is None:
            raise BadSyntax("a keyword is an atom of at most 255 octets" if name else "one space between flags")
        keywords.setdefault(keyword.lower(), keyword)
    if len(keywords) > flags.MAX_KEYWORDS:
        raise Refused(f"more than {flags.MAX_KEYWORDS} keywords", "LIMIT")
    return bits, tuple(keywords.values())
