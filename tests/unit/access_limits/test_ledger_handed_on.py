"""A ledger in the hands of the next program: one that counts on in it, and one that must make its own."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from pillarbox.access.ledger import CELLS, SUPERVISOR, Field, Ledger, Misfit
from pillarbox.access.ledger_carry import Carry, ForeignLedger
from pillarbox.access.ledger_layout import check_fit, read_layout
from pillarbox.access.limits import Caps, Limiter

FIELDS = {field.name: field.value for field in Field}


def fit(descriptor: int, **changes: Any) -> None:
    """Raises Misfit."""
    check_fit(read_layout(descriptor), **{"fields": FIELDS, "cells_octets": CELLS * 8, "entry_cells": 4} | changes)


def fits(descriptor: int, **changes: Any) -> bool:
    try:
        fit(descriptor, **changes)
    except Misfit:
        return False
    return True


def test_the_next_program_counts_on_in_the_same_memory_and_limits_hold_across_it() -> None:
    old = Ledger(4, connection_entries=100, rate_entries=100)
    before = Limiter(old.attach(1), Caps(address=3))
    assert before.enter("192.0.2.1") and before.enter("192.0.2.1") and before.rate("192.0.2.1", 2)
    new = Ledger.adopt(os.dup(old.descriptor))
    assert (new.slots, new.connection_entries) == (old.slots, old.connection_entries)
    after = Limiter(new.attach(2), Caps(address=3))
    assert after.enter("192.0.2.1") and not after.enter("192.0.2.1")
    assert after.rate("192.0.2.1", 2) and not after.rate("192.0.2.1", 2)
    assert old.total(Field.CONNECTIONS_TOTAL) == new.total(Field.CONNECTIONS_TOTAL) == 4
    assert old.live() == [1, 2]


def test_a_program_with_more_or_fewer_fields_fits() -> None:
    ledger = Ledger(1)
    assert fits(ledger.descriptor)
    assert fits(ledger.descriptor, fields=FIELDS | {"SOMETHING_NEW": 255})
    fewer = dict(FIELDS)
    del fewer["RELOADS"]
    assert fits(ledger.descriptor, fields=fewer)


@pytest.mark.parametrize(
    "changes",
    [
        {"fields": FIELDS | {"RELOADS": FIELDS["RELOADS"] + 1}},
        {"fields": FIELDS | {"SOMETHING_ELSE": FIELDS["RELOADS"]}},
        {"cells_octets": CELLS * 16},
        {"entry_cells": 5},
    ],
)
def test_a_program_that_would_read_a_cell_otherwise_does_not(changes: dict[str, Any]) -> None:
    ledger = Ledger(1)
    with pytest.raises(Misfit):
        fit(ledger.descriptor, **changes)


def test_what_is_no_ledger() -> None:
    descriptor = os.memfd_create("other")
    with pytest.raises(Misfit, match="no ledger"):
        Ledger.adopt(descriptor)
    os.write(descriptor, b"PILLARBOX LEDGER\n{}\n")
    with pytest.raises(Misfit, match="cannot be read"):
        Ledger.adopt(descriptor)
    ledger = Ledger(1)
    read_layout(ledger.descriptor).write(descriptor)
    with pytest.raises(Misfit, match="too short"):
        Ledger.adopt(descriptor)
    os.close(descriptor)


def test_clearing_forgets_gauges_that_only_the_other_program_knows() -> None:
    ledger = Ledger(1)
    slot = ledger.attach(1)
    slot.set(CELLS - 1, 5)
    slot.set(255, 6)
    ledger.clear(1)
    assert (slot.get(CELLS - 1), slot.get(255)) == (0, 6)


def moved(old: Ledger) -> ForeignLedger:
    """The same memory, described as by a program whose fields have other names for some cells."""
    descriptor = os.dup(old.descriptor)
    layout = read_layout(descriptor)
    fields = {name: cell for name, cell in layout.fields.items() if name != "RELOADS"}
    msgspec.structs.replace(layout, fields=fields).write(descriptor)
    return ForeignLedger(descriptor)


def test_figures_of_a_ledger_of_another_layout_are_brought_over() -> None:
    old, new = Ledger(3), Ledger(3)
    worker, gone = old.attach(1), old.attach(2)
    worker.add(Field.MESSAGES_RECEIVED, 7)
    worker.add(Field.CONNECTIONS_ACTIVE, 3)
    worker.add(Field.RELOADS, 9)
    gone.add(Field.MESSAGES_RECEIVED, 5)
    gone.add(Field.CONNECTIONS_ACTIVE, 2)
    own = new.attach(SUPERVISOR)
    carry = Carry(own, moved(old), {})
    carry.bring([1])
    assert new.total(Field.MESSAGES_RECEIVED) == 12
    assert new.total(Field.CONNECTIONS_ACTIVE) == 3
    assert new.total(Field.RELOADS) == 0  # it has no such field
    worker.add(Field.MESSAGES_RECEIVED)
    worker.add(Field.CONNECTIONS_ACTIVE, -2)
    carry.bring([1])
    carry.bring([1])
    assert new.total(Field.MESSAGES_RECEIVED) == 13 and new.total(Field.CONNECTIONS_ACTIVE) == 1
    again = Carry(own, moved(old), carry.brought)  # by the next program
    again.bring([])
    assert new.total(Field.MESSAGES_RECEIVED) == 13
    carry.bring([])
    assert new.total(Field.CONNECTIONS_ACTIVE) == 0
    lost = Carry(own, ForeignLedger.unreadable(os.dup(old.descriptor)), carry.brought)
    lost.bring([1])
    assert new.total(Field.MESSAGES_RECEIVED) == 13 and lost.source.value(1, Field.HEARTBEAT_MS) == 0
    assert new.total(Field.PID) == os.getpid()
