"""Counts of several workers in one ledger."""

from __future__ import annotations

from pillarbox.access.ledger import ENTRY_CELLS, Ledger
from pillarbox.access.limits import Limiter
from pillarbox.access.tally import Tally


def test_a_tally_holds_over_workers_until_their_slot_is_cleared() -> None:
    ledger = Ledger(2)
    one, two = Tally(ledger.attach(1), b"lane"), Tally(ledger.attach(2), b"lane")
    key = one.key(b"mx example.net")
    assert one.add(key) and one.add(key) and two.add(key)
    assert [tally.total(key) for tally in (one, two)] == [3, 3]
    assert one.total(one.key(b"mx example.org")) == 0
    two.remove(key)
    two.remove(key)  # more than it has
    assert one.total(key) == 2
    ledger.clear(1)  # its process died
    assert two.total(key) == 0


def test_subjects_of_one_kind_are_not_those_of_another() -> None:
    slot = Ledger(1).attach(1)
    lanes, limiter = Tally(slot, b"lane"), Limiter(slot)
    assert limiter.hold("192.0.2.1")
    assert lanes.total(lanes.key(b"\xc0\x00\x02\x01")) == 0
    assert limiter.connections("192.0.2.1") == 1


def test_a_table_without_room_says_so() -> None:
    ledger = Ledger(1, connection_entries=16)
    tally = Tally(ledger.attach(1), b"lane")
    keys = [tally.key(str(number).encode()) for number in range(40)]
    counted = [key for key in keys if tally.add(key)]
    assert len(counted) == ledger.connection_entries == len(ledger.connection_table(1)) // ENTRY_CELLS
    assert sum(tally.total(key) for key in keys) == len(counted)
    tally.remove(counted[0])
    assert tally.add(keys[-1])
