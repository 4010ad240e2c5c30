"""What administration commands print: a table for people, JSON for scripts, from the same rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pillarbox.cli.flags import harmless

Row = Mapping[str, Any]


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Rows as a JSON array with every key, or as a table with these columns."""
    if as_json:
        _print_json([dict(row) for row in rows])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = _is_numeric(rows, column)
        table.add_column(_title(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(shown(column, row[column]) for column in columns))
    # To a pipe a table is as wide as it needs: cut cells would be lost for `grep`.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(table)


class Listing:
    """The same, page after page, for what may have a million rows: nothing of a page is kept when it is printed.

    A table becomes wider where a later page needs it. `end` is to be called.
    """

    def __init__(self, columns: Sequence[str], *, as_json: bool) -> None:
        self._columns = columns
        self._as_json = as_json
        self._widths: list[int] = []
        self._numeric: list[bool] = []
        self._first: Sequence[Row] | None = None  # printed when it is known to be the only one, or not
        self._pages = 0

    def add(self, rows: Sequence[Row]) -> None:
        self._pages += 1
        if self._pages == 1:
            self._first = rows
            return
        self._flush()
        self._print(rows)

    def end(self) -> None:
        if self._pages > 1:
            if self._as_json:
                print("]")
        else:
            print_rows(self._first or [], self._columns, as_json=self._as_json)

    def _flush(self) -> None:
        if self._first is None:
            return
        first, self._first = self._first, None
        if self._as_json:
            print("[", end="")
        else:
            self._widths = [len(_title(column)) for column in self._columns]
            self._numeric = [_is_numeric(first, column) for column in self._columns]
        self._print(first, first=True)

    def _print(self, rows: Sequence[Row], *, first: bool = False) -> None:
        if self._as_json:
            text = ", ".join(json.dumps(dict(row), ensure_ascii=False) for row in rows)
            print(text if first else f", {text}", end="")
            return
        from rich.cells import cell_len

        cells = [[shown(column, row[column]) for column in self._columns] for row in rows]
        for at, width in enumerate(self._widths):
            self._widths[at] = max([width, *(cell_len(line[at]) for line in cells)])
        if first:
            cells.insert(0, [_title(column) for column in self._columns])
        for line in cells:
            pads = [" " * (width - cell_len(cell)) for width, cell in zip(self._widths, line, strict=True)]
            parts = [p + c if right else c + p for p, c, right in zip(pads, line, self._numeric, strict=True)]
            print("  ".join(parts).rstrip())


def _is_numeric(rows: Sequence[Row], column: str) -> bool:
    return any(isinstance(row[column], int) and not isinstance(row[column], bool) for row in rows)


def print_one(row: Row, *, as_json: bool) -> None:
    """One thing with everything about it."""
    if as_json:
        _print_json(dict(row))
        return
    width = max(len(_title(column)) for column in row) + 1
    for column, value in row.items():
        print(f"{_title(column) + ':':<{width}} {shown(column, value)}")


def print_done(text: str, row: Row, *, as_json: bool) -> None:
    """A sentence about what was done, or what it was done to as JSON."""
    if as_json:
        _print_json(dict(row))
    else:
        print(text)


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _title(column: str) -> str:
    return column.replace("_", " ").capitalize()


def shown(column: str, value: object) -> str:
    """A value for people; columns that end in `_at`, `_until`, `_before` or `_login` are times."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and column.endswith(("_at", "_until", "_before", "_login")):
        try:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        except (OSError, OverflowError, ValueError):  # written by hand, and no time at all
            return str(value)
    if isinstance(value, list | tuple):
        return harmless(", ".join(map(str, value))) or "-"
    return harmless(str(value))
