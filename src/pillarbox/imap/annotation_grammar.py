"""ANNOTATION (RFC 5257): entries, attributes and values in FETCH, STORE, SEARCH, SORT and APPEND, how they are told.

An entry is /comment, /altsubject, something below /vendor, or one of those of a part of the message (/2.1/comment).
What is stored must be one of these; asked for may be any name. Attributes are `value` and `size`, each private (.priv)
and everybody's (.shared).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from pillarbox.imap import responses
from pillarbox.imap.annotation import AnnotationChange, Annotations
from pillarbox.imap.list_pattern import compile_pattern
from pillarbox.imap.syntax import BadSyntax, Cursor

MAX_NAME = 1000  # octets
MAX_ENTRIES = 100  # of one item or command
_ATTRIBUTES = ("value.priv", "value.shared", "size.priv", "size.shared")
_FETCHED = {
    **{name: (name,) for name in _ATTRIBUTES},
    "value": ("value.priv", "value.shared"),
    "size": ("size.priv", "size.shared"),
}
SEARCHED = {"value": "", "value.priv": "priv", "value.shared": "shared"}
STORED = {"value.priv": False, "value.shared": True}  # is it everybody's

_LITERAL_NOW = re.compile(rb"~?\{[0-9]{1,19}\+?\}\Z")
_NAME = re.compile(r"(?:/[\x20-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+)+\Z")  # no * and %
_PATTERN = re.compile(r"[\x20-\x7e]{1,1000}\Z")
_PART = re.compile(r"/([0-9][^/]*)")
_NUMBERS = re.compile(r"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9}){0,99}\Z")
_OF_MESSAGE = re.compile(r"/(?:comment|altsubject|vendor/.+)\Z")
_OF_PART = re.compile(r"/[0-9.]+/(?:comment|flags/(?:seen|answered|flagged|forwarded)|vendor/.+)\Z")


class NeedsLiteral(Exception):
    """The announced literal is no message but a string of the command: a mailbox name, a URL, or a value."""


def part_of(entry: str) -> tuple[int, ...]:
    """The part of the message that an entry is about: (2, 1) for /2.1/comment, () for all of it."""
    found = _PART.match(entry)
    return tuple(map(int, found[1].split("."))) if found else ()


def fetched(cursor: Cursor) -> Annotations:
    """What follows ANNOTATION in FETCH: `(entries attributes)`."""
    cursor.expect(b"(", "( after ANNOTATION")
    if cursor.peek(b"("):
        entries = cursor.parenthesized(_pattern, MAX_ENTRIES, "entries")
    else:
        entries = [_pattern(cursor)]
    cursor.space()
    if cursor.peek(b"("):
        attributes = cursor.parenthesized(_attribute, MAX_ENTRIES, "attributes")
    else:
        attributes = [_attribute(cursor)]
    cursor.expect(b")", ") after the attributes")
    if not entries or not attributes:
        raise BadSyntax("an entry or an attribute is missing")
    told = (one for some in attributes for one in some)
    return Annotations(tuple(dict.fromkeys(entries)), tuple(dict.fromkeys(told)))


def changes(cursor: Cursor) -> tuple[AnnotationChange, ...]:
    """What follows ANNOTATION in STORE and APPEND: `(entry (attribute value ...) ...)`.

    Raises NeedsLiteral when the text ends where a literal is announced, as the parts of APPEND do.
    """
    found: dict[tuple[str, bool], AnnotationChange] = {}

    def of_entry(cursor: Cursor) -> None:
        _require_literal(cursor)
        entry = _stored_entry(cursor)
        cursor.space()
        pairs = cursor.parenthesized(_pair, MAX_ENTRIES, "attributes")
        if not pairs:
            cursor.fail("an attribute and its value")
        for shared, value in pairs:
            if "/flags/" in entry and value not in (b"0", b"1", None):
                raise BadSyntax("the flags of a part are 1, 0 or NIL, RFC 5257 section 3.2.1")
            found[entry, shared] = AnnotationChange(entry, shared, value)

    cursor.parenthesized(of_entry, MAX_ENTRIES, "entries")
    if not found:
        raise BadSyntax("an entry is missing")
    return tuple(found.values())


def pattern(cursor: Cursor) -> str:
    """An entry of SEARCH, perhaps with wildcards."""
    return _pattern(cursor)


def entry(cursor: Cursor) -> str:
    """An entry of SORT: no wildcards."""
    return _checked(cursor.astring("an entry"), _NAME)


def attribute(cursor: Cursor) -> str:
    return cursor.astring("an attribute").decode("ascii", "replace").lower()


def _pair(cursor: Cursor) -> tuple[bool, bytes | None]:
    name = attribute(cursor)
    shared = STORED.get(name)
    if shared is None:
        raise BadSyntax("value.priv and value.shared can be set, RFC 5257 section 3.2.2")
    cursor.space()
    _require_literal(cursor)
    return shared, cursor.value("a value or NIL")


def _require_literal(cursor: Cursor) -> None:
    if _LITERAL_NOW.match(cursor.text, cursor.at):
        raise NeedsLiteral


def _attribute(cursor: Cursor) -> tuple[str, ...]:
    name = attribute(cursor)
    found = _FETCHED.get(name)
    if found is None:
        raise BadSyntax("the attributes are value and size, with .priv or .shared or without")
    return found


def _pattern(cursor: Cursor) -> str:
    text = cursor.pattern_octets("an entry")
    wild = b"*" in text or b"%" in text
    return _checked(text, _PATTERN if wild else _NAME)


def _stored_entry(cursor: Cursor) -> str:
    name = _checked(cursor.astring("an entry"), _NAME)
    if not (_OF_MESSAGE.match(name) or _OF_PART.match(name)):
        raise BadSyntax("entries are /comment, /altsubject, /vendor/..., and /PART/comment, /PART/flags/..., and so on")
    return name


def _checked(octets: bytes, form: re.Pattern[str]) -> str:
    text = octets.decode("ascii", "replace")
    if len(octets) > MAX_NAME or not form.match(text) or (text.startswith("/flags") and text[6:7] in ("", "/")):
        _bad()
    if (part := _PART.match(text)) and "*" not in part[1] and "%" not in part[1] and not _NUMBERS.match(part[1]):
        _bad()
    return text


def _bad() -> NoReturn:
    raise BadSyntax("an entry is a path of ASCII like /comment or /1.2/comment, RFC 5257 section 3.2.1")


# How they are told.


def annotation(asked: Annotations, values: Mapping[tuple[str, bool], bytes]) -> bytes | None:
    """The item of a FETCH response; None when there is nothing to tell. `values` by entry and whether everybody's.

    A name without wildcards is told in any case (RFC 5257 section 3.2.2: NIL, and a size of 0).
    """
    scopes = {one.endswith(".shared") for one in asked.attributes}
    there = dict.fromkeys(name for name, shared in values if shared in scopes)
    names: dict[str, None] = {}
    for pattern in asked.entries:
        if "*" in pattern or "%" in pattern:
            fits = compile_pattern(pattern)
            names.update(dict.fromkeys(name for name in there if fits(name)))
        else:
            names[pattern] = None
    if not names:
        return None
    return b"ANNOTATION (%b)" % b" ".join(_told(name, asked.attributes, values) for name in names)


def _told(name: str, attributes: tuple[str, ...], values: Mapping[tuple[str, bool], bytes]) -> bytes:
    pairs = []
    for attribute in attributes:
        kind, _, scope = attribute.partition(".")
        value = values.get((name, scope == "shared"))
        if kind == "size":
            told = b'"%d"' % len(value or b"")
        else:
            told = responses.literal8(value) if value is not None and b"\0" in value else responses.nstring(value)
        pairs.append(attribute.encode() + b" " + told)
    return responses.astring(name.encode()) + b" (%b)" % b" ".join(pairs)
