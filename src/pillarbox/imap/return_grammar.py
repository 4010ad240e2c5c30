"""RETURN of SEARCH, SORT and their kin: which results are told (RFC 4731, 5182, 5267, 5465, 6203, 9394)."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.imap.fetch import FetchItem
from pillarbox.imap.fetch_grammar import fetch_atts
from pillarbox.imap.partial import partial_range
from pillarbox.imap.syntax import BadSyntax, Cursor

OPTIONS = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE", "PARTIAL", "RELEVANCY", "UPDATE", "CONTEXT"})


@dataclass(slots=True, frozen=True)
class Return:
    """`names`: what is told, and SAVE, never empty; `partial` of PARTIAL; `update`: the result is kept up to date, and
    `items` are told of a new message that comes into it (RFC 5465 section 7).
    """

    names: frozenset[str]
    partial: tuple[int, int] | None = None
    update: bool = False
    items: tuple[FetchItem, ...] = ()


def return_options(cursor: Cursor) -> Return | None:
    """`RETURN (...) ` when it stands here, with the space behind it."""
    if not cursor.keyword(b"RETURN "):
        return None
    partial: list[tuple[int, int]] = []
    items: list[FetchItem] = []
    names = set(cursor.parenthesized(lambda at: _option(at, partial, items), 20, "RETURN options"))
    cursor.space()
    if len(partial) > 1:
        raise BadSyntax("one PARTIAL only")
    if partial and "ALL" in names:
        raise BadSyntax("ALL and PARTIAL exclude each other, RFC 9394 section 3.1")
    update = "UPDATE" in names
    names -= {"UPDATE", "CONTEXT"}  # CONTEXT is a hint (RFC 5267 section 4.2): nothing to prepare here
    told = frozenset(names) or frozenset({"ALL"})
    return Return(told, partial[0] if partial else None, update, tuple(dict.fromkeys(items)))


def _option(cursor: Cursor, partial: list[tuple[int, int]], items: list[FetchItem]) -> str:
    option = cursor.word("a RETURN option")
    if option not in OPTIONS:
        raise BadSyntax(f"there is no RETURN option {option[:40]}")
    if option == "PARTIAL":
        cursor.space()
        partial.append(partial_range(cursor))
    if option == "UPDATE" and (cursor.peek(b" (") or cursor.peek(b"(")):
        cursor.skip(b" ")  # the grammar has no space, the example of section 7 has one
        items += fetch_atts(cursor)
    return option
