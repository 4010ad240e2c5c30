"""What workers of another version still count, in a ledger that this program cannot count in.

After an upgrade that changed the layout the new workers have a ledger of their own, while the old ones finish their
sessions and count in theirs. Until they have ended, `Carry` brings their figures over, by the names of the fields, into
the supervisor's slot of the new ledger: totals go on from where they were, and open connections count against the
limit of the server. What is not brought over are the tables: limits by address and rates begin anew for newcomers.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Self

from .ledger import COUNTERS, Field, Slot
from .ledger_layout import HEAD, read_layout

# Gauges of what sessions hold; the others are about one process.
BROUGHT = (*(field for field in Field if field.name.endswith("CONNECTIONS_ACTIVE")), Field.SPOOL_BYTES)


class ForeignLedger:
    """Another program's ledger, read by the names of its fields. Fields that it lacks read as 0."""

    def __init__(self, descriptor: int) -> None:
        """Raises Misfit when even that cannot be read; the descriptor is left alone then."""
        layout = read_layout(descriptor)
        self.descriptor = descriptor
        self.slots = layout.slots
        self._at = layout.fields
        self._step = layout.stride // 8
        self._map = mmap.mmap(descriptor, layout.octets)
        self._cells: memoryview[int] = memoryview(self._map).cast("q")

    @classmethod
    def unreadable(cls, descriptor: int) -> Self:
        """One that nothing can be read of."""
        ledger = cls.__new__(cls)
        ledger.descriptor, ledger.slots, ledger._at = descriptor, 0, {}
        return ledger

    def knows(self, field: Field) -> bool:
        return field.name in self._at

    def value(self, slot: int, field: Field) -> int:
        cell = self._at.get(field.name)
        return 0 if cell is None else self._cells[HEAD // 8 + slot * self._step + cell]

    def total(self, field: Field) -> int:
        """The sum over all slots."""
        cell = self._at.get(field.name)
        return 0 if cell is None else sum(self._cells[HEAD // 8 + cell :: self._step])

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.descriptor)


class Carry:
    """Brings figures of one foreign ledger into `own`, the supervisor's slot. `brought`: what was brought already."""

    def __init__(self, own: Slot, source: ForeignLedger, brought: Mapping[str, int]) -> None:
        self.source = source
        self.brought = dict(brought)
        self._own = own
        self._held = dict.fromkeys(BROUGHT, 0)

    def bring(self, living: Iterable[int]) -> None:
        """Counters as they are now, and the gauges of the slots of `living` workers."""
        for field in COUNTERS:
            if not self.source.knows(field):
                continue
            total = self.source.total(field)
            self._own.add(field, total - self.brought.get(field.name, 0))
            self.brought[field.name] = total
        slots = tuple(living)
        for field in BROUGHT:
            held = sum(self.source.value(slot, field) for slot in slots)
            self._own.add(field, held - self._held[field])
            self._held[field] = held
