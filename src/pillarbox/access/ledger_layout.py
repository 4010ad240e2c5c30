"""The first pages of a ledger's memory: they say how the rest of it is to be read.

An upgrade hands the memory to another program, newer or older. That one reads this first, and either goes on counting
in the same cells or, when it would read them differently, makes a ledger of its own (see `ledger_carry`).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping

import msgspec

VERSION = 1  # of what the cells of a table entry mean, and of how slots and tables follow one another
HEAD = 16384  # octets before the first slot
_MAGIC = b"PILLARBOX LEDGER\n"


class Misfit(Exception):
    """The memory cannot be counted in by this program; the text says why."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in octets (`cells_octets`: all named cells of a slot) and entries; `fields` is cell by name."""

    version: int
    slots: int
    cells_octets: int
    entry_cells: int
    connection_entries: int
    rate_entries: int
    secret: str
    fields: dict[str, int]

    @property
    def stride(self) -> int:
        """Octets from one slot to the next."""
        tables = (self.connection_entries + self.rate_entries) * self.entry_cells * 8
        return self.cells_octets + -(-tables // mmap.PAGESIZE) * mmap.PAGESIZE

    @property
    def octets(self) -> int:
        return HEAD + self.stride * self.slots

    def write(self, descriptor: int) -> None:
        """Put it where a reader looks for it. Raises OSError."""
        text = _MAGIC + msgspec.json.encode(self) + b"\n"
        if len(text) > HEAD:
            raise ValueError("the names of the fields do not fit before the first slot")
        os.pwrite(descriptor, text, 0)


def read_layout(descriptor: int) -> Layout:
    """Raises Misfit."""
    try:
        text = os.pread(descriptor, HEAD, 0)
        if not text.startswith(_MAGIC):
            raise Misfit("it is no ledger")
        layout = msgspec.json.decode(text[len(_MAGIC) : text.index(b"\n", len(_MAGIC))], type=Layout)
        if os.fstat(descriptor).st_size < layout.octets:
            raise Misfit("it is too short")
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise Misfit(f"its layout cannot be read: {error}") from error
    return layout


def check_fit(layout: Layout, *, fields: Mapping[str, int], cells_octets: int, entry_cells: int) -> None:
    """Whether a program with these fields may count in that memory.

    It may when no cell means one thing here and another there; a field that only one of them knows does no harm.
    Raises Misfit.
    """
    if (layout.version, layout.cells_octets, layout.entry_cells) != (VERSION, cells_octets, entry_cells):
        raise Misfit("its tables have another form")
    there = {cell: name for name, cell in layout.fields.items()}
    for name, cell in fields.items():
        if layout.fields.get(name, cell) != cell or there.get(cell, name) != name:
            raise Misfit(f"{name} has another place in it")
