"""SEARCH (RFC 9051 section 6.4.4) with RETURN, CHARSET, MODSEQ (RFC 7162 section 3.1.5) and WITHIN (RFC 5032)."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from pillarbox.imap import annotation_grammar, flags
from pillarbox.imap.commands import Search
from pillarbox.imap.return_grammar import return_options
from pillarbox.imap.search import (
    All,
    And,
    Annotation,
    Body,
    EmailId,
    Filter,
    Flag,
    Fuzzy,
    Header,
    Key,
    Keyword,
    ModSeq,
    Not,
    Numbers,
    Or,
    Received,
    Recent,
    Saved,
    Sent,
    Size,
    Text,
    ThreadId,
    Uids,
    Within,
)
from pillarbox.imap.sequence import MAX_NUMBER, SequenceSet
from pillarbox.imap.sort import Criterion
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused
from pillarbox.mime.charset import codec_of

MAX_DEPTH = 50  # of parentheses, NOT and OR; deeper needs stack here and in whoever evaluates it
MAX_KEYS = 1000  # in all
MAX_TEXT = 8192  # octets of one text to look for

# What BADCHARSET names; every other charset that mail has is taken too.
CHARSETS = ("US-ASCII", "UTF-8", "ISO-8859-1", "ISO-8859-15", "WINDOWS-1252", "KOI8-R", "ISO-2022-JP", "GB18030")

_NOT_HERE = frozenset({"utf_7"})  # half surrogate pairs

_SIMPLE: dict[str, Key] = {
    "ALL": All(),
    "ANSWERED": Flag(flags.ANSWERED, True),
    "DELETED": Flag(flags.DELETED, True),
    "DRAFT": Flag(flags.DRAFT, True),
    "FLAGGED": Flag(flags.FLAGGED, True),
    "SEEN": Flag(flags.SEEN, True),
    "UNANSWERED": Flag(flags.ANSWERED, False),
    "UNDELETED": Flag(flags.DELETED, False),
    "UNDRAFT": Flag(flags.DRAFT, False),
    "UNFLAGGED": Flag(flags.FLAGGED, False),
    "UNSEEN": Flag(flags.SEEN, False),
    "RECENT": Recent(True),  # RECENT, OLD, NEW: RFC 3501 section 6.4.4
    "OLD": Recent(False),
    "NEW": And((Recent(True), Flag(flags.SEEN, False))),
    "SAVEDATESUPPORTED": All(),  # RFC 8514 section 4.3: by every mailbox
}


def search(cursor: Cursor) -> Search:
    """`search` after the space that follows the command's name."""
    return program(cursor, None)


def stored_program(text: bytes, enabled: AbstractSet[str] = frozenset()) -> Search:
    """A search program as a filter keeps it. Raises BadSyntax, Refused."""
    return program(Cursor(text, enabled=enabled), None, returns=False)


Criteria = Callable[[Cursor], tuple[Criterion, ...]]


def program(cursor: Cursor, criteria: Criteria | None, *, charset: bool = False, returns: bool = True) -> Search:
    """`[RETURN (...)] [criteria] [CHARSET x] keys`. `charset`: it stands there without the word, as SORT has it."""
    wanted = return_options(cursor) if returns else None
    try:
        order = criteria(cursor) if criteria is not None else ()
        found = _searched(cursor, charset=charset)
    except Refused as refused:
        if wanted is None or "SAVE" not in wanted.names:
            raise
        return Search(All(), wanted.names, refused=(str(refused), refused.code))  # RFC 5182 section 2.1
    if wanted is not None:
        found.returns, found.partial = wanted.names, wanted.partial
        found.update, found.update_items = wanted.update, wanted.items
    found.sort = order
    return found


def _searched(cursor: Cursor, *, charset: bool) -> Search:
    name = "UTF-8"  # without CHARSET: ASCII, of which UTF-8 is the lenient reading
    if charset or cursor.keyword(b"CHARSET "):
        if not charset and "UTF8=ACCEPT" in cursor.enabled:
            raise BadSyntax("no CHARSET once UTF8=ACCEPT is enabled: it is UTF-8, RFC 9755 section 3")
        name = cursor.astring("a charset").decode("ascii", "replace").upper()
        cursor.space()
    codec = codec_of(name)
    if codec is None or codec in _NOT_HERE:
        raise Refused("the charset is not known", f"BADCHARSET ({' '.join(CHARSETS)})")
    parser = _Program(codec)
    keys = [parser.key(cursor, 1)]
    while not cursor.done:
        cursor.space()
        keys.append(parser.key(cursor, 1))
    key = keys[0] if len(keys) == 1 else And(tuple(keys))
    return Search(key, None, name, parser.modseq, filters=tuple(dict.fromkeys(parser.filters)))


class _Program:
    """Parses keys by recursive descent, counting keys and depth."""

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self.modseq = False
        self.count = 0
        self.filters: list[str] = []

    def key(self, cursor: Cursor, depth: int) -> Key:
        self.count += 1
        if depth > MAX_DEPTH:
            raise BadSyntax(f"search keys nest deeper than {MAX_DEPTH}")
        if self.count > MAX_KEYS:
            raise BadSyntax(f"more than {MAX_KEYS} search keys")
        if cursor.skip(b"("):
            return self._group(cursor, depth)
        if cursor.text[cursor.at : cursor.at + 1] in _SET_START:
            numbers = cursor.sequence()
            if numbers.ranges and "UIDONLY" in cursor.enabled:
                raise BadSyntax("message numbers are not used once UIDONLY is enabled", "UIDREQUIRED")
            return Numbers(numbers)
        name = cursor.word("a search key")
        simple = _SIMPLE.get(name)
        if simple is not None:
            return simple
        argument = _ARGUMENTS.get(name)
        if argument is None:
            raise BadSyntax(f"there is no search key {name[:40]}")
        cursor.space()
        return argument(self, cursor, depth)

    def _group(self, cursor: Cursor, depth: int) -> Key:
        keys = [self.key(cursor, depth + 1)]
        while not cursor.skip(b")"):
            cursor.space()
            keys.append(self.key(cursor, depth + 1))
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def text(self, cursor: Cursor) -> str:
        return self._decoded(cursor.astring("a text"))

    def _decoded(self, raw: bytes) -> str:
        if len(raw) > MAX_TEXT:
            raise Refused(f"a text to look for has at most {MAX_TEXT} octets", "LIMIT")
        try:
            return raw.decode(self.codec)
        except UnicodeError:
            raise BadSyntax("a text does not fit its charset") from None

    def negated(self, cursor: Cursor, depth: int) -> Key:
        return Not(self.key(cursor, depth + 1))

    def fuzzy(self, cursor: Cursor, depth: int) -> Key:
        return Fuzzy(self.key(cursor, depth + 1))

    def filter(self, cursor: Cursor, depth: int) -> Key:
        name = cursor.atom("the name of a filter").decode("ascii").lower()
        if "/" in name:
            raise BadSyntax("the name of a filter has no /, RFC 5466 section 4")
        self.filters.append(name)
        return Filter(name)

    def either(self, cursor: Cursor, depth: int) -> Key:
        # OR a OR b OR c d: mail clients chain by the hundred; the chain costs no depth.
        keys = [self.key(cursor, depth + 1)]
        cursor.space()
        while cursor.keyword(b"OR "):
            self.count += 1
            keys.append(self.key(cursor, depth + 1))
            cursor.space()
        keys.append(self.key(cursor, depth + 1))
        return Or(tuple(keys))

    def header(self, cursor: Cursor, depth: int) -> Key:
        field = cursor.astring("a header field name").decode("utf-8", "replace").lower()
        cursor.space()
        return Header(field, self.text(cursor))

    def annotation(self, cursor: Cursor, depth: int) -> Key:
        entry = annotation_grammar.pattern(cursor)
        cursor.space()
        scope = annotation_grammar.SEARCHED.get(annotation_grammar.attribute(cursor))
        if scope is None:
            raise BadSyntax("value, value.priv and value.shared are searched, RFC 5257 section 4.8")
        cursor.space()
        raw = cursor.value("a text")
        return Annotation(entry, scope, None if raw is None else self._decoded(raw))

    def since_modseq(self, cursor: Cursor, depth: int) -> Key:
        self.modseq = True
        if cursor.peek(b'"'):  # entry-name and entry-type: flags have one mod-sequence together here
            cursor.string()
            cursor.space()
            if cursor.word("all, priv or shared") not in ("ALL", "PRIV", "SHARED"):
                cursor.fail("all, priv or shared")
            cursor.space()
        return ModSeq(cursor.number(name="a mod-sequence"))


_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}\Z")
_SET_START = frozenset(bytes([octet]) for octet in b"0123456789*$")

Argument = Callable[[_Program, Cursor, int], Key]


def _named_header(field: str) -> Argument:
    return lambda program, cursor, depth: Header(field, program.text(cursor), envelope=True)


def _keyword(present: bool) -> Argument:
    def parse(program: _Program, cursor: Cursor, depth: int) -> Key:
        word = flags.canonical_keyword(cursor.atom("a keyword").decode("ascii"))
        if word is None:
            raise BadSyntax("a keyword is an atom of at most 255 octets")
        return Keyword(word, present)

    return parse


def _received(relation: str) -> Argument:
    return lambda program, cursor, depth: Received(relation, cursor.date())


def _saved(relation: str) -> Argument:
    return lambda program, cursor, depth: Saved(relation, cursor.date())


def _interval(cursor: Cursor) -> int:
    """Seconds, at least one (RFC 5032 section 4)."""
    seconds = cursor.number(0xFFFFFFFF, "an interval")
    if not seconds:
        raise BadSyntax("an interval is at least one second")
    return seconds


def _object_id(cursor: Cursor) -> str:
    """`objectid`, RFC 8474 section 7."""
    word = cursor.astring("an object id")
    if not _OBJECT_ID.match(word):
        raise BadSyntax("an object id is 1 to 255 letters, digits, - and _")
    return word.decode("ascii")


def _uid(cursor: Cursor) -> int:
    """The UID of UIDAFTER and UIDBEFORE (RFC 9738 section 3.2)."""
    uid = cursor.number(MAX_NUMBER, "a UID")
    if not uid:
        raise BadSyntax("UIDs begin at 1")
    return uid


def _between(low: int, high: int) -> tuple[tuple[int, int], ...]:
    return ((low, high),) if low <= high else ()


def _sent(relation: str) -> Argument:
    return lambda program, cursor, depth: Sent(relation, cursor.date())


_ARGUMENTS: dict[str, Argument] = {
    **{name: _named_header(name.lower()) for name in ("BCC", "CC", "FROM", "SUBJECT", "TO")},
    **{relation: _received(relation) for relation in ("BEFORE", "ON", "SINCE")},
    **{"SENT" + relation: _sent(relation) for relation in ("BEFORE", "ON", "SINCE")},
    **{"SAVED" + relation: _saved(relation) for relation in ("BEFORE", "ON", "SINCE")},
    "EMAILID": lambda program, cursor, depth: EmailId(_object_id(cursor)),
    "THREADID": lambda program, cursor, depth: ThreadId(_object_id(cursor)),
    "BODY": lambda program, cursor, depth: Body(program.text(cursor)),
    "TEXT": lambda program, cursor, depth: Text(program.text(cursor)),
    "HEADER": _Program.header,
    "KEYWORD": _keyword(True),
    "UNKEYWORD": _keyword(False),
    "LARGER": lambda program, cursor, depth: Size(True, cursor.number(name="a size")),
    "SMALLER": lambda program, cursor, depth: Size(False, cursor.number(name="a size")),
    "OLDER": lambda program, cursor, depth: Within(True, _interval(cursor)),
    "YOUNGER": lambda program, cursor, depth: Within(False, _interval(cursor)),
    "UID": lambda program, cursor, depth: Uids(cursor.sequence()),
    "UIDAFTER": lambda program, cursor, depth: Uids(SequenceSet(_between(_uid(cursor) + 1, MAX_NUMBER))),
    "UIDBEFORE": lambda program, cursor, depth: Uids(SequenceSet(_between(1, _uid(cursor) - 1))),
    "MODSEQ": _Program.since_modseq,
    "ANNOTATION": _Program.annotation,
    "FUZZY": _Program.fuzzy,
    "FILTER": _Program.filter,
    "NOT": _Program.negated,
    "OR": _Program.either,
}
