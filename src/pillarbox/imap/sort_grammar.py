"""SORT and THREAD (RFC 5256, 5267 section 3, 5957): their own arguments; the keys are those of SEARCH."""

from __future__ import annotations

from pillarbox.imap import annotation_grammar
from pillarbox.imap.commands import Search
from pillarbox.imap.search_grammar import program
from pillarbox.imap.sort import CRITERIA, Criterion
from pillarbox.imap.syntax import BadSyntax, Cursor
from pillarbox.imap.thread import ALGORITHMS

MAX_CRITERIA = 32


def sort(cursor: Cursor) -> Search:
    """`sort` after the space that follows the command's name."""
    return program(cursor, _criteria, charset=True)


def thread(cursor: Cursor) -> Search:
    """`thread` after the space that follows the command's name."""
    algorithm = cursor.word("a threading algorithm")
    if algorithm not in ALGORITHMS:
        raise BadSyntax(f"there is no threading algorithm {algorithm[:40]}")
    cursor.space()
    found = program(cursor, None, charset=True, returns=False)
    found.thread = algorithm
    return found


def _criteria(cursor: Cursor) -> tuple[Criterion, ...]:
    found = cursor.parenthesized(_criterion, MAX_CRITERIA, "sort criteria")
    if not found:
        raise BadSyntax("a sort criterion is missing")
    cursor.space()
    return tuple(found)


def _criterion(cursor: Cursor) -> Criterion:
    reverse = cursor.keyword(b"REVERSE ")
    name = cursor.word("a sort criterion")
    if name not in CRITERIA:
        raise BadSyntax(f"there is no sort criterion {name[:40]}")
    if name != "ANNOTATION":
        return Criterion(name, reverse)
    cursor.space()
    entry = annotation_grammar.entry(cursor)
    cursor.space()
    shared = annotation_grammar.STORED.get(annotation_grammar.attribute(cursor))
    if shared is None:
        raise BadSyntax("value.priv and value.shared are sorted by, RFC 5257 section 4.9")
    return Criterion(name, reverse, (entry, shared))
