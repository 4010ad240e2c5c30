"""How many of something each worker has, and all of them together: counted in the ledger, by what it belongs to.

Who wants one more counts it first, then looks at the sum, and takes it back when that is too much: so no limit is ever
exceeded, though two workers that race for the last one may both step back. What a worker that died had is not counted
any more once its slot is cleared.
"""

from __future__ import annotations

from threading import Lock

from .ledger import Slot
from .ledger_table import COUNT, KEY, find, room_for_count


class Tally:
    """As one worker counts. `kind` keeps what is counted here apart from other tallies."""

    def __init__(self, slot: Slot, kind: bytes) -> None:
        self._slot = slot
        self._ledger = slot.ledger
        self._kind = kind
        self._tables = [self._ledger.connection_table(n) for n in range(self._ledger.slots)]
        self._own = self._tables[slot.number]
        self._fence = Lock()

    def key(self, subject: bytes) -> int:
        """What `subject` is counted by."""
        return self._ledger.key(self._kind, subject)

    def add(self, key: int) -> bool:
        """One more is ours; False, and not counted, when the table has no room."""
        table = self._own
        at = find(table, key)
        if at < 0:
            at = room_for_count(table, key)
            if at < 0:
                return False
            table[at + COUNT] = 0
            table[at + KEY] = key
        table[at + COUNT] += 1
        return True

    def remove(self, key: int) -> None:
        """One that was counted is not ours any more."""
        at = find(self._own, key)
        if at >= 0 and self._own[at + COUNT] > 0:
            self._own[at + COUNT] -= 1

    def total(self, key: int) -> int:
        """Of all workers."""
        with self._fence:  # a full barrier: our count is out before the others' are read
            pass
        total = 0
        for number in self._ledger.counting(self._slot.number):
            table = self._tables[number]
            at = find(table, key)
            if at >= 0:
                total += table[at + COUNT]
        return total
