"""The ledger: sums over slots, what survives a worker, and that forked processes see the same memory."""

from __future__ import annotations

import os

import pytest

from pillarbox.access.ledger import COUNTERS, GAUGES, SUPERVISOR, Field, Ledger


def test_fields_are_counters_or_gauges() -> None:
    assert set(COUNTERS) | set(GAUGES) == set(Field)
    assert not set(COUNTERS) & set(GAUGES)
    assert Field.CONNECTIONS_ACTIVE in GAUGES and Field.RELOADS in COUNTERS


def test_totals_are_sums_over_slots() -> None:
    ledger = Ledger(2)
    first, second = ledger.attach(1), ledger.attach(2)
    first.add(Field.MESSAGES_RECEIVED)
    second.add(Field.MESSAGES_RECEIVED, 41)
    ledger.attach(SUPERVISOR).add(Field.WORKERS_STARTED, 2)
    assert ledger.total(Field.MESSAGES_RECEIVED) == 42
    assert ledger.most(Field.MESSAGES_RECEIVED) == 41
    assert ledger.total(Field.WORKERS_STARTED) == 2
    assert ledger.total(Field.BYTES_RECEIVED) == 0
    assert ledger.live() == [1, 2]


def test_cells_are_64_bit() -> None:
    slot = Ledger(1).attach(1)
    slot.add(Field.BYTES_RECEIVED, 2**40)
    slot.add(Field.BYTES_RECEIVED, 2**40)
    assert slot.get(Field.BYTES_RECEIVED) == 2**41


def test_clearing_keeps_counters_and_forgets_the_rest() -> None:
    ledger = Ledger(2)
    slot = ledger.attach(1)
    other = ledger.attach(2)
    slot.add(Field.MESSAGES_RECEIVED, 7)
    slot.add(Field.CONNECTIONS_ACTIVE, 3)
    other.add(Field.CONNECTIONS_ACTIVE, 5)
    ledger.connection_table(1)[0] = 99
    ledger.rate_table(1)[-1] = 99
    ledger.rate_table(2)[-1] = 77
    ledger.clear(1)
    assert ledger.total(Field.MESSAGES_RECEIVED) == 7
    assert ledger.total(Field.CONNECTIONS_ACTIVE) == 5
    assert ledger.connection_table(1)[0] == 0
    assert ledger.rate_table(1)[-1] == 0
    assert ledger.rate_table(2)[-1] == 77
    assert ledger.live() == [2]


def test_forked_processes_count_in_the_same_memory() -> None:
    ledger = Ledger(3)
    children = []
    for number in (1, 2, 3):
        pid = os.fork()
        if not pid:
            slot = ledger.attach(number)
            for _ in range(1000):
                slot.add(Field.CONNECTIONS_TOTAL)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert ledger.total(Field.CONNECTIONS_TOTAL) == 3000
    assert [ledger.value(n, Field.PID) for n in (1, 2, 3)] == children


def test_a_slot_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        Ledger(2).attach(3)


def test_keys_are_secret_and_never_zero() -> None:
    one, two = Ledger(1), Ledger(1)
    keys = [one.key(b"smtp", bytes([n])) for n in range(256)]
    assert len(set(keys)) == 256 and all(0 < key < 2**63 for key in keys)
    assert one.key(b"smtp", b"a") == one.key(b"smtp", b"a") != one.key(b"imap", b"a")
    assert one.key(b"smtp", b"a") != two.key(b"smtp", b"a")
