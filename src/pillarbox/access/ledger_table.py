"""Entries of the ledger's tables: where the one of a key stands, and where a new one may.

A table is a run of cells, four to an entry. Open addressing: a key stands in one of PROBES entries from its place on.
An entry that was used is never made unused again (only taken over), so a search may stop at the first unused one.
"""

from __future__ import annotations

from .ledger import ENTRY_CELLS

PROBES = 32  # entries that a key may stand in
KEY, WINDOW, COUNT, BEFORE = range(ENTRY_CELLS)


def find(table: memoryview[int], key: int) -> int:
    """The cell where the key's entry begins, or -1."""
    mask = len(table) // ENTRY_CELLS - 1
    for probe in range(key, key + PROBES):
        at = (probe & mask) * ENTRY_CELLS
        found = table[at]
        if found == key:
            return at
        if not found:
            return -1
    return -1


def _places(table: memoryview[int], key: int) -> list[int]:
    mask = len(table) // ENTRY_CELLS - 1
    return [(probe & mask) * ENTRY_CELLS for probe in range(key, key + PROBES)]


def room_for_count(table: memoryview[int], key: int) -> int:
    """An entry that is unused or counts nothing now, or -1."""
    for at in _places(table, key):
        if not table[at + KEY] or table[at + COUNT] <= 0:
            return at
    return -1


def room_for_rate(table: memoryview[int], key: int, window: int) -> int:
    """An unused or outdated entry, else the one that counts least.

    So who comes from many addresses only pushes out others that did little.
    """
    best, least = -1, 0
    for at in _places(table, key):
        if not table[at + KEY] or not window - 1 <= table[at + WINDOW] <= window:
            return at
        weight = table[at + COUNT] + table[at + BEFORE]
        if best < 0 or weight < least:
            best, least = at, weight
    return best
