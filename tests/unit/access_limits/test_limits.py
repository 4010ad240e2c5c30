"""Limits that hold over all workers: two limiters on one ledger stand for two workers here."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import START, Clock
from pillarbox.access.ledger import Field, Ledger
from pillarbox.access.limits import Admission, Caps, Limiter, Role, is_loopback, subject_of

HOUR = START - START % 3600  # the beginning of one


def pair(caps: Caps, *, clock: Clock | None = None, **kw: int) -> tuple[Ledger, Limiter, Limiter]:
    ledger = Ledger(2, **kw)
    clock = clock or Clock(HOUR)
    one, two = (Limiter(ledger.attach(n), caps, clock=clock) for n in (1, 2))
    return ledger, one, two


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", b"\xc0\x00\x02\x01"),
        ("::ffff:192.0.2.1", b"\xc0\x00\x02\x01"),
        ("2001:db8::1", b"\x20\x01\x0d\xb8\0\0\0\0"),
        ("2001:db8::ffff:0:0:1", b"\x20\x01\x0d\xb8\0\0\0\0"),
        ("fe80::1%eth0", b"\xfe\x80\0\0\0\0\0\0"),
        ("", b""),
        ("unix", b"unix"),
        ("1.2.3", b"1.2.3"),
        ("a\0b", b"a\0b"),
    ],
)
def test_what_an_address_counts_as(address: str, subject: bytes) -> None:
    assert subject_of(address) == subject


@given(st.text())
def test_any_text_has_a_subject(address: str) -> None:
    assert isinstance(subject_of(address), bytes)


def test_loopback() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("127.9.9.9") and is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("128.0.0.1") and not is_loopback("::2") and not is_loopback("")


def test_the_cap_of_the_server_holds_over_workers() -> None:
    ledger, one, two = pair(Caps(server=3))
    assert one.enter("192.0.2.1") and one.enter("192.0.2.2") and two.enter("192.0.2.3")
    assert one.enter("192.0.2.4") is Admission.SERVER_FULL
    assert two.enter("192.0.2.4") is Admission.SERVER_FULL
    assert ledger.total(Field.CONNECTIONS_ACTIVE) == 3
    assert ledger.total(Field.CONNECTIONS_TOTAL) == 5
    assert ledger.total(Field.CONNECTIONS_REFUSED) == 2
    two.leave("192.0.2.3")
    assert one.enter("192.0.2.4") is Admission.ADMITTED


def test_the_cap_of_an_address_holds_over_workers() -> None:
    ledger, one, two = pair(Caps(address=2))
    assert one.enter("2001:db8::1") and two.enter("2001:db8::2")
    assert one.enter("2001:db8::3") is Admission.ADDRESS_FULL
    assert one.enter("2001:db8:0:1::3") is Admission.ADMITTED
    assert ledger.total(Field.CONNECTIONS_ACTIVE) == 3
    two.leave("2001:db8::2")
    assert one.enter("2001:db8::3") is Admission.ADMITTED
    assert one.connections("2001:db8::") == 2


def test_protocols_share_the_caps_and_are_counted_apart() -> None:
    ledger = Ledger(1)
    limiter = Limiter(ledger.attach(1), Caps(server=9, address=3))
    assert limiter.enter("192.0.2.1", Role.SMTP) and limiter.enter("192.0.2.1", Role.IMAP)
    assert limiter.enter("192.0.2.1", Role.LMTP)
    assert limiter.enter("192.0.2.1", Role.SMTP) is Admission.ADDRESS_FULL
    assert ledger.total(Field.CONNECTIONS_ACTIVE) == 3
    assert ledger.total(Field.SMTP_CONNECTIONS_ACTIVE) == ledger.total(Field.IMAP_CONNECTIONS_ACTIVE) == 1
    limiter.leave("192.0.2.1", Role.IMAP)
    assert ledger.total(Field.IMAP_CONNECTIONS_ACTIVE) == 0
    assert limiter.enter("192.0.2.1", Role.SMTP)
    assert ledger.total(Field.SMTP_CONNECTIONS_TOTAL) == 3


def test_loopback_is_exempt_when_trusted_but_not_from_the_cap_of_the_server() -> None:
    _, one, _ = pair(Caps(server=3, address=1))
    assert one.enter("127.0.0.1")
    assert one.enter("127.0.0.1") is Admission.ADDRESS_FULL
    one.trust_loopback = True
    assert one.enter("127.0.0.1") and one.enter("")
    assert one.enter("127.0.0.1") is Admission.SERVER_FULL
    for _ in range(3):
        one.leave("127.0.0.1")
    assert one.connections("127.0.0.1") == 0
    assert one.rate("127.0.0.1", 0) and one.rate("127.0.0.1", 1) and one.rate("127.0.0.1", 1)


def test_what_a_dead_worker_held_is_free_again() -> None:
    ledger, one, two = pair(Caps(server=2, address=2))
    assert one.enter("192.0.2.1") and one.enter("192.0.2.1")
    assert not two.enter("192.0.2.1")
    ledger.clear(1)
    assert two.enter("192.0.2.1") and two.connections("192.0.2.1") == 1


def test_a_full_table_admits_without_counting_by_address() -> None:
    ledger, one, _ = pair(Caps(server=200, address=1), connection_entries=16, rate_entries=16)
    addresses = [f"10.0.{n}.1" for n in range(100)]
    assert all(one.enter(a) for a in addresses)
    for a in addresses:
        one.leave(a)
    assert ledger.total(Field.CONNECTIONS_ACTIVE) == 0
    assert all(one.connections(a) == 0 for a in addresses)


def test_a_rate_is_summed_over_workers_and_slides() -> None:
    clock = Clock(HOUR)
    ledger, one, two = pair(Caps(), clock=clock)
    assert all(worker.rate("192.0.2.1", 4) for worker in (one, two, one, two))
    assert not one.rate("192.0.2.1", 4) and not two.rate("192.0.2.1", 4)
    assert one.rate("192.0.2.2", 4)
    assert ledger.total(Field.RATE_LIMIT_HITS) == 2
    clock.now += 3600  # the hour before still counts whole at the hour's beginning
    assert not one.rate("192.0.2.1", 4)
    clock.now += 1800  # and half in its middle
    assert one.rate("192.0.2.1", 4) and two.rate("192.0.2.1", 4)
    assert not one.rate("192.0.2.1", 4)
    clock.now += 7200
    assert one.rate("192.0.2.1", 4)


def test_a_window_of_another_length() -> None:
    clock = Clock(HOUR)
    _, one, _ = pair(Caps(), clock=clock)
    assert one.rate("192.0.2.1", 1) and not one.rate("192.0.2.1", 1)
    one.window = 60
    assert one.rate("192.0.2.1", 1) and not one.rate("192.0.2.1", 1)
    clock.now += 120
    assert one.rate("192.0.2.1", 1)


def test_rates_of_kinds_and_costs() -> None:
    _, one, _ = pair(Caps())
    assert one.rate_of(b"user", b"anna", 10, cost=9)
    assert not one.rate_of(b"user", b"anna", 10, cost=2)
    assert one.rate_of(b"user", b"anna", 10, cost=1)
    assert one.rate_of(b"recipients", b"anna", 10, cost=9)


def test_many_addresses_push_out_only_those_that_did_little() -> None:
    _, one, _ = pair(Caps(), connection_entries=16, rate_entries=16)
    assert all(one.rate("192.0.2.1", 5) for _ in range(5))
    for n in range(200):
        one.rate(f"10.0.{n}.1", 5)
    assert not one.rate("192.0.2.1", 5)


def test_the_cap_is_exact_under_a_race() -> None:
    ledger = Ledger(4)
    children = []
    for number in range(1, 5):
        pid = os.fork()
        if not pid:
            limiter = Limiter(ledger.attach(number), Caps(server=100))
            worst = 0
            for _ in range(300):
                if limiter.enter(f"192.0.2.{number}"):
                    worst = max(worst, sum(limiter.connections(f"192.0.2.{n}") for n in range(1, 5)))
            os._exit(1 if worst > 100 else 0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert 90 <= ledger.total(Field.CONNECTIONS_ACTIVE) <= 100


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60))
def test_counts_agree_with_a_model(steps: list[tuple[str, bool]]) -> None:
    ledger, one, _ = pair(Caps(server=9, address=3))
    held: dict[str, int] = {}
    for address, comes in steps:
        if comes:
            may = sum(held.values()) < 9 and held.get(address, 0) < 3
            assert bool(one.enter(address)) is may
            held[address] = held.get(address, 0) + may
        elif held.get(address):
            one.leave(address)
            held[address] -= 1
        assert one.connections(address) == held.get(address, 0)
    assert ledger.total(Field.CONNECTIONS_ACTIVE) == sum(held.values())
