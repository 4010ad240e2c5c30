"""APPEND and REPLACE: several messages (RFC 3502), messages put together (CATENATE, RFC 4469), UTF8 (RFC 6855).

Such a command comes in segments: text up to the announcement of a literal that is a message or a piece of one, then,
after its octets, more text. `first` and `more` read one segment each and give the steps that it asks for, in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from pillarbox.imap import annotation_grammar
from pillarbox.imap.annotation_grammar import NeedsLiteral
from pillarbox.imap.commands import Append
from pillarbox.imap.sequence import MAX_NUMBER, STAR, SequenceSet
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused

MAX_STEPS = 1000  # of one segment: URLs in a row

_LITERAL_NOW = re.compile(rb"(~?)\{([0-9]{1,19})(\+?)\}\Z")


@dataclass(slots=True)
class Url:
    """CATENATE: the octets that this URL stands for come next."""

    url: str


@dataclass(slots=True)
class Text:
    """CATENATE: the announced literal comes next."""

    size: int
    binary: bool


class End(Enum):
    """The command is complete."""

    END = 0


Step = Append | Url | Text | End
"""`Append` begins a message; without `catenate` the announced literal is all of it."""


class Inside(Enum):
    """What the literal at the end of a segment stands in."""

    NOTHING = 0
    UTF8 = 1  # UTF8 (~{n}
    CATENATE = 2  # CATENATE (TEXT {n}


@dataclass(slots=True)
class Segment:
    """What one segment asks for, and how its end is to be continued."""

    head: Append  # the mailbox, and with REPLACE the message
    steps: list[Step]
    inside: Inside = Inside.NOTHING


def append(cursor: Cursor) -> Segment:
    """The first segment of APPEND. Raises NeedsLiteral when it ends within the mailbox name or a URL."""
    return _first(cursor, Append(_mailbox(cursor), 0, (), None, 0))


def replace(cursor: Cursor) -> Segment:
    """REPLACE with a message number (RFC 8508)."""
    return _replace(cursor, uid=False)


def uid_replace(cursor: Cursor) -> Segment:
    return _replace(cursor, uid=True)


def _replace(cursor: Cursor, *, uid: bool) -> Segment:
    if not uid and cursor.skip(b"*"):
        number = STAR
    else:
        number = cursor.number(MAX_NUMBER, "a message number" if not uid else "a UID")
        if not number:
            cursor.fail("a number over 0")
    cursor.space()
    one = SequenceSet(((number, number),))
    return _first(cursor, Append(_mailbox(cursor), 0, (), None, 0, replaces=one, uid=uid))


def _first(cursor: Cursor, head: Append) -> Segment:
    segment = Segment(head, [])
    cursor.space()
    _message(cursor, segment)
    _messages(cursor, segment)
    return segment


def more(cursor: Cursor, head: Append, inside: Inside) -> Segment:
    """The segment after a literal that stood `inside` something."""
    segment = Segment(head, [])
    if inside is Inside.UTF8:
        cursor.expect(b")", ")")
    elif inside is Inside.CATENATE:
        _parts(cursor, segment, first=False)
    _messages(cursor, segment)
    return segment


def _messages(cursor: Cursor, segment: Segment) -> None:
    while not cursor.done:
        cursor.space()
        if cursor.done:
            break  # some clients leave one there
        if segment.head.replaces is not None:
            raise BadSyntax("REPLACE takes one message, RFC 8508 section 3")
        _message(cursor, segment)
    if not segment.steps or not _awaits_literal(segment.steps[-1], cursor.text):
        segment.steps.append(End.END)


def _awaits_literal(step: Step, text: bytes) -> bool:
    return (isinstance(step, Text) or (isinstance(step, Append) and not step.catenate)) and text.endswith(b"}")


def _message(cursor: Cursor, segment: Segment) -> None:
    head = segment.head
    made = Append(head.mailbox, 0, (), None, 0, replaces=head.replaces, uid=head.uid)
    if cursor.peek(b"("):
        made.flags, made.keywords = cursor.flag_list()
        cursor.space()
    if cursor.peek(b'"'):
        made.date = cursor.date_time()
        cursor.space()
    if cursor.keyword(b"ANNOTATION "):
        made.annotations = annotation_grammar.changes(cursor)
        cursor.space()
    _room(segment)
    segment.steps.append(made)
    if cursor.keyword(b"CATENATE ("):
        made.catenate = True
        _parts(cursor, segment, first=True)
        return
    if cursor.keyword(b"UTF8 ("):
        segment.inside = Inside.UTF8
        made.size, made.binary = _literal(cursor, "the message as a literal8")
        if not made.binary:
            cursor.fail("a literal8 in UTF8 (), RFC 6855 section 4")
        return
    segment.inside = Inside.NOTHING
    made.size, made.binary = _literal(cursor, "the message as a literal")


def _parts(cursor: Cursor, segment: Segment, *, first: bool) -> None:
    segment.inside = Inside.CATENATE
    while True:
        if not first:
            if cursor.skip(b")"):
                segment.inside = Inside.NOTHING
                return
            cursor.space()
        first = False
        _room(segment)
        if cursor.keyword(b"URL "):
            segment.steps.append(Url(_string(cursor, "a URL").decode("ascii", "replace")))
        elif cursor.keyword(b"TEXT "):
            segment.steps.append(Text(*_literal(cursor, "a text as a literal")))
            return  # the rest comes after its octets
        else:
            cursor.fail("URL or TEXT")


def _room(segment: Segment) -> None:
    if len(segment.steps) >= MAX_STEPS:
        raise Refused(f"more than {MAX_STEPS} parts between two literals", "LIMIT")


def _mailbox(cursor: Cursor) -> str:
    if _LITERAL_NOW.match(cursor.text, cursor.at):
        raise NeedsLiteral
    return cursor.mailbox()


def _string(cursor: Cursor, name: str) -> bytes:
    if _LITERAL_NOW.match(cursor.text, cursor.at):
        raise NeedsLiteral
    return cursor.astring(name)


def _literal(cursor: Cursor, name: str) -> tuple[int, bool]:
    found = _LITERAL_NOW.match(cursor.text, cursor.at)
    if found is None:
        cursor.fail(name)
    cursor.at = found.end()
    return int(found[2]), bool(found[1])
