"""The search program of SEARCH as a tree of small frozen values (RFC 9051 section 6.4.4).

Texts are decoded from the CHARSET already, as the client wrote them (matching ignores case and is the evaluator's
work). Compound keys of the RFC are spelled out: NEW is `And(Recent(True), Flag(SEEN, False))`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pillarbox.imap.sequence import SequenceSet


@dataclass(slots=True, frozen=True)
class All:
    """ALL: every message."""


@dataclass(slots=True, frozen=True)
class Flag:
    """ANSWERED ... UNSEEN: the flag bit (see `flags`) is set, or is not."""

    bit: int
    present: bool


@dataclass(slots=True, frozen=True)
class Recent:
    """RECENT and OLD."""

    present: bool


@dataclass(slots=True, frozen=True)
class Keyword:
    """KEYWORD and UNKEYWORD."""

    name: str
    present: bool


@dataclass(slots=True, frozen=True)
class Header:
    """HEADER, BCC, CC, FROM, SUBJECT, TO: substring of a header field (`field` in lower case; "" text: it exists).

    `envelope`: of what ENVELOPE shows of it, which is all but HEADER (RFC 9051 section 6.4.4).
    """

    field: str
    text: str
    envelope: bool = False


@dataclass(slots=True, frozen=True)
class Body:
    """BODY: substring of the text of the message without its header."""

    text: str


@dataclass(slots=True, frozen=True)
class Text:
    """TEXT: substring of header or body."""

    text: str


@dataclass(slots=True, frozen=True)
class Received:
    """BEFORE, ON, SINCE: the internal date; `day` is days since 1970-01-01, `relation` "BEFORE", "ON" or "SINCE"."""

    relation: str
    day: int


@dataclass(slots=True, frozen=True)
class Within:
    """OLDER and YOUNGER (RFC 5032): the internal date, in seconds before the moment of the search."""

    older: bool
    seconds: int


@dataclass(slots=True, frozen=True)
class Sent:
    """SENTBEFORE, SENTON, SENTSINCE: the Date header; as `Received`."""

    relation: str
    day: int


@dataclass(slots=True, frozen=True)
class Saved:
    """SAVEDBEFORE, SAVEDON, SAVEDSINCE (RFC 8514): when it came into this mailbox; as `Received`."""

    relation: str
    day: int


@dataclass(slots=True, frozen=True)
class EmailId:
    """EMAILID (RFC 8474): the message of this id."""

    id: str


@dataclass(slots=True, frozen=True)
class ThreadId:
    """THREADID (RFC 8474): messages of this thread."""

    id: str


@dataclass(slots=True, frozen=True)
class Size:
    """LARGER (strictly) and SMALLER (strictly), in octets."""

    larger: bool
    octets: int


@dataclass(slots=True, frozen=True)
class Numbers:
    """A sequence set of message numbers; `$` (with `.saved`) may stand here."""

    sequence: SequenceSet


@dataclass(slots=True, frozen=True)
class Uids:
    """UID with a set of unique identifiers; `$` too."""

    sequence: SequenceSet


@dataclass(slots=True, frozen=True)
class ModSeq:
    """MODSEQ: the message's mod-sequence is this or greater (RFC 7162 section 3.1.5; the entry is not looked at)."""

    value: int


@dataclass(slots=True, frozen=True)
class Annotation:
    """ANNOTATION (RFC 5257): substring of an annotation's value; `entry` may have wildcards, `scope` is "priv",
    "shared" or "" for both, and without a `text` (NIL) there must be no value."""

    entry: str
    scope: str
    text: str | None


@dataclass(slots=True, frozen=True)
class Fuzzy:
    """FUZZY (RFC 6203): the texts of the key need not fit exactly."""

    key: Key


@dataclass(slots=True, frozen=True)
class Filter:
    """FILTER (RFC 5466): the program that is kept under this name, in lower case. See `with_filters`."""

    name: str


@dataclass(slots=True, frozen=True)
class Not:
    """NOT."""

    key: Key


@dataclass(slots=True, frozen=True)
class Or:
    """OR: at least one of the keys holds. `OR a OR b c` is one `Or` of three, however long clients make the chain."""

    keys: tuple[Key, ...]


@dataclass(slots=True, frozen=True)
class And:
    """Several keys, all of which must hold: the top of a program and every parenthesis with more than one key."""

    keys: tuple[Key, ...]


Key = (
    All
    | Flag
    | Recent
    | Keyword
    | Header
    | Body
    | Text
    | Received
    | Within
    | Sent
    | Saved
    | EmailId
    | ThreadId
    | Size
    | Numbers
    | Uids
    | ModSeq
    | Annotation
    | Fuzzy
    | Filter
    | Not
    | Or
    | And
)


def leaves(key: Key) -> Iterator[Key]:
    """The keys that AND, OR and NOT of a program join, in order. A `Fuzzy` is one of them, whatever it holds."""
    match key:
        case And(keys=keys) | Or(keys=keys):
            for one in keys:
                yield from leaves(one)
        case Not(key=one):
            yield from leaves(one)
        case _:
            yield key


def with_filters(key: Key, programs: Mapping[str, Key]) -> Key:
    """The program with the filters' programs in the place of their names. Raises KeyError for a name without one."""
    match key:
        case Filter(name):
            return programs[name]
        case And(keys=keys):
            return And(tuple(with_filters(one, programs) for one in keys))
        case Or(keys=keys):
            return Or(tuple(with_filters(one, programs) for one in keys))
        case Not(key=one):
            return Not(with_filters(one, programs))
        case Fuzzy(key=one):
            return Fuzzy(with_filters(one, programs))
    return key
