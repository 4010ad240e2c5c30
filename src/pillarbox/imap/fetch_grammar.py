"""FETCH, STORE, COPY, MOVE and UID EXPUNGE: the commands about messages (RFC 9051 section 6.4, RFC 3516, RFC 7162).

Clients send the same few item lists again and again, so the text after the sequence set is parsed once and kept in a
small cache (by the exact text, short texts only).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from pillarbox.imap import annotation_grammar
from pillarbox.imap.commands import Annotate, Copy, Expunge, Fetch, Store
from pillarbox.imap.fetch import FetchItem, Item, Section
from pillarbox.imap.partial import partial_range
from pillarbox.imap.syntax import MAX_NUMBER64, BadSyntax, Cursor, flag_words

MAX_ITEMS = 200  # of one FETCH; each may read the whole message
MAX_PART_DEPTH = 100  # numbers in 1.2.3
MAX_FIELDS = 500  # header names in one HEADER.FIELDS
_CACHED = 300  # octets of the longest text that is kept in the cache

_ITEM = re.compile(rb"[A-Za-z0-9.]+")
_PART = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*")
_TEXT = re.compile(rb"(?:HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME)(?=[ \]])", re.IGNORECASE)
_PARTIAL = re.compile(rb"<([0-9]{1,19})\.([0-9]{1,19})>")
_LAZY = re.compile(rb" \(LAZY(?: LAZY)*\)", re.IGNORECASE)
_FIELD = re.compile(rb"[!-9;-~]{1,255}\Z")  # field-name, RFC 5322 section 2.2
_ATOMIC = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+\Z")
_STORE = re.compile(rb"([0-9:,*$]+) ([+-]?)FLAGS(\.SILENT)? \(([^()\"{}%*\x00-\x1f\x7f-\xff]*)\)\Z", re.IGNORECASE)

_MACROS: dict[bytes, tuple[FetchItem, ...]] = {  # RFC 9051 section 6.4.5
    b"ALL": (Item.FLAGS, Item.INTERNALDATE, Item.RFC822_SIZE, Item.ENVELOPE),
    b"FAST": (Item.FLAGS, Item.INTERNALDATE, Item.RFC822_SIZE),
    b"FULL": (Item.FLAGS, Item.INTERNALDATE, Item.RFC822_SIZE, Item.ENVELOPE, Item.BODY),
}
_ITEMS: dict[bytes, FetchItem] = {
    **{item.value: item for item in Item},
    # RFC 3501 section 6.4.5; gone from IMAP4rev2 and still understood.
    b"RFC822": Section("BODY", (), "", frozenset(), None, False, b"RFC822"),
    b"RFC822.HEADER": Section("BODY", (), "HEADER", frozenset(), None, True, b"RFC822.HEADER"),
    b"RFC822.TEXT": Section("BODY", (), "TEXT", frozenset(), None, False, b"RFC822.TEXT"),
}
_SECTIONS = {  # name before "[" -> kind, peek
    b"BODY": ("BODY", False),
    b"BODY.PEEK": ("BODY", True),
    b"BINARY": ("BINARY", False),
    b"BINARY.PEEK": ("BINARY", True),
    b"BINARY.SIZE": ("BINARY.SIZE", True),
}

Partial = tuple[int, int]
Tail = tuple[tuple[FetchItem, ...], int | None, bool, Partial | None]  # items, CHANGEDSINCE, VANISHED, PARTIAL


def fetch(cursor: Cursor) -> Fetch:
    """`fetch` after the space that follows the command's name."""
    return _fetch(cursor, uid=False)


def uid_fetch(cursor: Cursor) -> Fetch:
    """UID FETCH: UID is always among the items (RFC 9051 section 6.4.9)."""
    return _fetch(cursor, uid=True)


def _fetch(cursor: Cursor, uid: bool) -> Fetch:
    sequence = cursor.sequence()
    cursor.space()
    text = cursor.text[cursor.at :]
    if len(text) <= _CACHED:
        items, since, vanished, partial = _cached_tail(text, uid)
    else:
        items, since, vanished, partial = _tail(text, uid)
    if vanished and not cursor.qresync:
        raise BadSyntax("VANISHED needs ENABLE QRESYNC first, RFC 7162 section 3.2.6")
    return Fetch(sequence, items, since, vanished, partial)


def _tail(text: bytes, uid: bool) -> Tail:
    cursor = Cursor(text)
    items = _items(cursor)
    since: int | None = None
    vanished = False
    partial: Partial | None = None
    if cursor.skip(b" "):
        since, vanished, partial = _modifiers(cursor)
    cursor.end()
    if partial is not None and not uid:
        raise BadSyntax("PARTIAL goes with UID FETCH, RFC 9394 section 3.4")
    if vanished and (not uid or since is None):
        raise BadSyntax("VANISHED goes with UID FETCH and CHANGEDSINCE, RFC 7162 section 3.2.6")
    wanted = dict.fromkeys(items)
    if uid:
        wanted = dict.fromkeys((Item.UID, *wanted))
    if since is not None:
        wanted[Item.MODSEQ] = None  # RFC 7162 section 3.1.4.1
    return tuple(wanted), since, vanished, partial


_cached_tail = lru_cache(maxsize=256)(_tail)


def fetch_atts(cursor: Cursor) -> tuple[FetchItem, ...]:
    """FETCH items in parentheses, at least one, without repeats."""
    items = cursor.parenthesized(_item, MAX_ITEMS, "FETCH items")
    if not items:
        cursor.fail("a FETCH item")
    return tuple(dict.fromkeys(items))


def _items(cursor: Cursor) -> list[FetchItem] | tuple[FetchItem, ...]:
    if cursor.peek(b"("):
        items = cursor.parenthesized(_item, MAX_ITEMS, "FETCH items")
        if not items:
            cursor.fail("a FETCH item")
        return items
    found = _ITEM.match(cursor.text, cursor.at)
    macro = _MACROS.get(found[0].upper()) if found else None
    if found and macro:
        cursor.at = found.end()
        return macro
    return [_item(cursor)]


def _item(cursor: Cursor) -> FetchItem:
    found = _ITEM.match(cursor.text, cursor.at)
    if found is None:
        cursor.fail("a FETCH item")
    name = found[0].upper()
    section = _SECTIONS.get(name)
    if section is not None and cursor.text[found.end() : found.end() + 1] == b"[":
        cursor.at = found.end() + 1
        return _section(cursor, *section)
    if name == b"ANNOTATION":
        cursor.at = found.end()
        cursor.space()
        return annotation_grammar.fetched(cursor)
    item = _ITEMS.get(name)
    if item is None:
        raise BadSyntax(f"there is no FETCH item {name[:40].decode('ascii')}")
    cursor.at = found.end()
    if item is Item.PREVIEW and (lazy := _LAZY.match(cursor.text, cursor.at)):
        cursor.at = lazy.end()  # RFC 8970 section 3.2: previews are made at delivery, so a lazy one is there too
    return item


def section_of(text: bytes, partial: tuple[int, int] | None) -> Section:
    """`1.2.MIME`, as it stands between the brackets of BODY[]. Raises BadSyntax."""
    cursor = Cursor(text + b"]")
    found = _section(cursor, "BODY", peek=True)
    cursor.end()
    return replace(found, partial=partial)


def _section(cursor: Cursor, kind: str, peek: bool) -> Section:
    part: tuple[int, ...] = ()
    text = ""
    names: list[bytes] = []
    spec = b""
    if not cursor.peek(b"]"):
        found = _PART.match(cursor.text, cursor.at)
        if found:
            spec = found[0]
            if spec.count(b".") >= MAX_PART_DEPTH:
                raise BadSyntax(f"more than {MAX_PART_DEPTH} numbers in a part")
            part = tuple(map(int, spec.split(b".")))
            cursor.at = found.end()
        if not found or cursor.skip(b"."):
            if kind != "BODY":
                cursor.fail("part numbers")  # RFC 3516 section 4.2: no section text in BINARY
            text, names = _section_text(cursor, bool(part))
            spec += (b"." if part else b"") + text.encode()
            if names:
                spec += b" (%b)" % b" ".join(map(_field_label, names))
    cursor.expect(b"]", "]")
    partial = _partial(cursor) if kind != "BINARY.SIZE" else None
    label = b"%b[%b]" % (kind.encode(), spec)
    if partial:
        label += b"<%d>" % partial[0]
    return Section(kind, part, text, frozenset(name.lower() for name in names), partial, peek, label)


def _section_text(cursor: Cursor, in_part: bool) -> tuple[str, list[bytes]]:
    found = _TEXT.match(cursor.text, cursor.at)
    if found is None:
        cursor.fail("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME")
    text = found[0].decode("ascii").upper()
    if text == "MIME" and not in_part:
        raise BadSyntax("MIME needs part numbers before it")
    cursor.at = found.end()
    names: list[bytes] = []
    if text.startswith("HEADER.FIELDS"):
        cursor.space()
        names = cursor.parenthesized(_field, MAX_FIELDS, "header fields")
        if not names:
            cursor.fail("a header field name")
    return text, names


def _field(cursor: Cursor) -> bytes:
    name = cursor.astring("a header field name")
    if not _FIELD.match(name):
        raise BadSyntax("a header field name is printable ASCII without a colon")
    return name


def _field_label(name: bytes) -> bytes:
    if _ATOMIC.match(name):
        return name
    return b'"%b"' % name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _partial(cursor: Cursor) -> tuple[int, int] | None:
    if not cursor.peek(b"<"):
        return None
    found = _PARTIAL.match(cursor.text, cursor.at)
    if found is None or int(found[1]) > MAX_NUMBER64 or not 0 < int(found[2]) <= MAX_NUMBER64:
        cursor.fail("<origin.length> with a length over 0")
    cursor.at = found.end()
    return int(found[1]), int(found[2])


def _modifiers(cursor: Cursor) -> tuple[int | None, bool, Partial | None]:
    # RFC 7162 sections 3.1.4.1 and 3.2.6, RFC 9394 section 3.4
    since: int | None = None
    vanished = False
    partial: Partial | None = None

    def modifier(cursor: Cursor) -> None:
        nonlocal since, vanished, partial
        name = cursor.word("a FETCH modifier")
        if name == "CHANGEDSINCE":
            cursor.space()
            since = cursor.number(name="a mod-sequence")
        elif name == "VANISHED":
            vanished = True
        elif name == "PARTIAL":
            cursor.space()
            partial = partial_range(cursor)
        else:
            raise BadSyntax(f"there is no FETCH modifier {name[:40]}")

    cursor.parenthesized(modifier, 10, "FETCH modifiers")
    return since, vanished, partial


_cached_flags = lru_cache(maxsize=256)(flag_words)


def store(cursor: Cursor) -> Store | Annotate:
    """`store`: also with the flags outside parentheses, with UNCHANGEDSINCE (RFC 7162 section 3.1.3), and of
    annotations (RFC 5257 section 4.5)."""
    usual = _STORE.match(cursor.text, cursor.at)
    if usual:
        sequence = cursor.sequence()
        bits, keywords = _cached_flags(usual[4]) if len(usual[4]) <= _CACHED else flag_words(usual[4])
        return Store(sequence, _OPERATIONS[usual[2]], bits, keywords, usual[3] is not None)
    sequence = cursor.sequence()
    cursor.space()
    unchanged: int | None = None
    if cursor.skip(b"("):
        if not cursor.keyword(b"UNCHANGEDSINCE "):
            cursor.fail("UNCHANGEDSINCE")
        unchanged = cursor.number(name="a mod-sequence")
        cursor.expect(b")", ")")
        cursor.space()
    if cursor.keyword(b"ANNOTATION "):
        changes = annotation_grammar.changes(cursor)
        cursor.end()
        return Annotate(sequence, changes, unchanged)
    sign = b"+" if cursor.skip(b"+") else b"-" if cursor.skip(b"-") else b""
    if not cursor.keyword(b"FLAGS"):
        cursor.fail("FLAGS, +FLAGS or -FLAGS")
    silent = cursor.keyword(b".SILENT")
    cursor.space()
    if cursor.peek(b"("):
        bits, keywords = cursor.flag_list()
        cursor.end()
    else:
        words = cursor.text[cursor.at :]
        if not words or not _LOOSE_FLAGS.match(words):
            cursor.fail("flags")
        bits, keywords = flag_words(words)
    return Store(sequence, _OPERATIONS[sign], bits, keywords, silent, unchanged)


_OPERATIONS = {b"": "set", b"+": "add", b"-": "remove"}
_LOOSE_FLAGS = re.compile(rb"[^()\"{}%*\x00-\x1f\x7f-\xff]+\Z")


def copy(cursor: Cursor) -> Copy:
    """`copy` and `move`."""
    sequence = cursor.sequence()
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.end()
    return Copy(sequence, mailbox)


def uid_expunge(cursor: Cursor) -> Expunge:
    """RFC 4315 section 2.1."""
    sequence = cursor.sequence()
    cursor.end()
    return Expunge(sequence)
