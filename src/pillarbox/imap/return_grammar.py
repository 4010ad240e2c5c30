"""RETURN of SEARCH, SORT and their kin: which results are told (RFC 4731, 5182, 5267, 6203, 9394)."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.imap.syntax import BadSyntax, Cursor

OPTIONS = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE", "PARTIAL", "RELEVANCY", "UPDATE", "CONTEXT"})
RESULTS = frozenset({"MIN", "MAX", "ALL", "COUNT", "PARTIAL"})
_MOST = 0xFFFFFFFF  # nz-number


@dataclass(slots=True, frozen=True)
class Return:
    """`names`: what is told, and SAVE, never empty; `partial` of PARTIAL; `update`: the result is kept up to date."""

    names: frozenset[str]
    partial: tuple[int, int] | None = None
    update: bool = False


def return_options(cursor: Cursor) -> Return | None:
    """`RETURN (...) ` when it stands here, with the space behind it."""
    if not cursor.keyword(b"RETURN "):
        return None
    partial: list[tuple[int, int]] = []
    names = set(cursor.parenthesized(lambda at: _option(at, partial), 20, "RETURN options"))
    cursor.space()
    if len(partial) > 1:
        raise BadSyntax("one PARTIAL only")
    if partial and "ALL" in names:
        raise BadSyntax("ALL and PARTIAL exclude each other, RFC 9394 section 3.1")
    update = "UPDATE" in names
    names -= {"UPDATE", "CONTEXT"}  # CONTEXT is a hint (RFC 5267 section 4.2): nothing to prepare here
    return Return(frozenset(names) or frozenset({"ALL"}), partial[0] if partial else None, update)


def _option(cursor: Cursor, partial: list[tuple[int, int]]) -> str:
    option = cursor.word("a RETURN option")
    if option not in OPTIONS:
        raise BadSyntax(f"there is no RETURN option {option[:40]}")
    if option == "PARTIAL":
        cursor.space()
        partial.append(partial_range(cursor))
    return option


def partial_range(cursor: Cursor) -> tuple[int, int]:
    """`1:500` or `-1:-500`: the ends as they are written (RFC 9394 section 3.1)."""
    negative = cursor.peek(b"-")
    ends = []
    for separator in (b":", b""):
        if cursor.skip(b"-") != negative:
            raise BadSyntax("a partial range counts from one side only, RFC 9394 section 4")
        number = cursor.number(_MOST, "a position")
        if not number:
            raise BadSyntax("positions begin at 1")
        ends.append(-number if negative else number)
        if separator:
            cursor.expect(separator, "a colon between two positions")
    return ends[0], ends[1]


def positions(partial: tuple[int, int], size: int) -> range:
    """Which indexes (from 0) of `size` results a partial range names."""
    low, high = sorted(map(abs, partial))
    if partial[0] < 0:
        return range(max(0, size - high), max(0, size - low + 1))
    return range(min(low - 1, size), min(high, size))
