"""The commands about the session: LOGIN, AUTHENTICATE, ENABLE, ID and others (RFC 9051 sections 6.1 to 6.3)."""

from __future__ import annotations

import base64
import binascii
import re

from pillarbox.imap.commands import Comparators, Enable, Id, Languages, Login
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused

MAX_NAMES = 50  # of one ENABLE

# RFC 2971 section 3.3
MAX_ID_PAIRS = 30
MAX_ID_FIELD = 30
MAX_ID_VALUE = 1024

_ORDER = re.compile(rb"[+-]?[A-Za-z0-9;=.*_-]{1,255}\Z")  # collation-order, RFC 4790 section 3.3
_RANGE = re.compile(rb"(?=.{1,255}\Z)(?:[A-Za-z0-9]{1,8}|\*)(?:-(?:[A-Za-z0-9]{1,8}|\*))*\Z")  # RFC 4647 section 2.2
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}\Z")


def nothing(cursor: Cursor) -> None:
    """A command without arguments."""
    cursor.end()


def login(cursor: Cursor) -> Login:
    username = cursor.decoded("the user name")
    cursor.space()
    args = Login(username, cursor.decoded("the password"))
    cursor.end()
    return args


def authenticate(cursor: Cursor) -> tuple[str, bytes | None]:
    """Mechanism and initial response (RFC 4959: `=` is an empty one)."""
    mechanism = cursor.word("a mechanism")
    initial: bytes | None = None
    if cursor.skip(b" "):
        text = cursor.text[cursor.at :]
        initial = b"" if text == b"=" else unbase64(text)
        if initial is None or not text:
            raise BadSyntax("the initial response is not base64")
        return mechanism, initial
    cursor.end()
    return mechanism, initial


def unbase64(text: bytes) -> bytes | None:
    """Strict base64, or None."""
    if not _BASE64.match(text):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def compress(cursor: Cursor) -> None:
    """COMPRESS, RFC 4978: there is one algorithm."""
    if cursor.word("an algorithm") != "DEFLATE":
        raise BadSyntax("the one compression algorithm is DEFLATE")
    cursor.end()


def enable(cursor: Cursor) -> Enable:
    names = [cursor.word("a capability")]
    while cursor.skip(b" "):
        names.append(cursor.word("a capability"))
        if len(names) > MAX_NAMES:
            raise BadSyntax(f"more than {MAX_NAMES} capabilities")
    cursor.end()
    return Enable(tuple(dict.fromkeys(names)))


def comparator(cursor: Cursor) -> Comparators:
    """COMPARATOR, RFC 5255 section 4.7."""
    rule = "a comparator is 1 to 255 letters, digits and -;=.*_ with a sign before it"
    return Comparators(_names(cursor, "comparator", _ORDER, rule))


def language(cursor: Cursor) -> Languages:
    """LANGUAGE, RFC 5255 section 3.2."""
    rule = "a language range is words of 1 to 8 letters and digits or *, with - between them"
    return Languages(_names(cursor, "language range", _RANGE, rule))


def _names(cursor: Cursor, what: str, form: re.Pattern[bytes], rule: str) -> tuple[str, ...]:
    names: list[str] = []
    while not cursor.done:
        if names:
            cursor.space()
        name = cursor.astring(f"a {what}")
        if not form.match(name):
            raise BadSyntax(rule)
        names.append(name.decode("ascii"))
        if len(names) > MAX_NAMES:
            raise BadSyntax(f"more than {MAX_NAMES} {what}s")
    return tuple(names)


def identification(cursor: Cursor) -> Id:
    """ID, RFC 2971."""
    fields: dict[str, str | None] = {}

    def pair(cursor: Cursor) -> None:
        field = cursor.string("a field name")
        cursor.space()
        value = cursor.nstring("a value")
        if len(field) > MAX_ID_FIELD or len(value or b"") > MAX_ID_VALUE:
            raise Refused("a field of ID has at most 30 octets and its value 1024", "LIMIT")
        fields[field.decode("utf-8", "replace").lower()] = None if value is None else value.decode("utf-8", "replace")

    if not cursor.keyword(b"NIL"):
        cursor.parenthesized(pair, MAX_ID_PAIRS, "ID fields")
    cursor.end()
    return Id(fields)
