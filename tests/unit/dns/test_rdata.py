"""Records in wire form: what they say, and that nothing but ValueError comes of broken ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.dns.answer import KINDS, Kind
from pillarbox.dns.rdata import NUMBERS, read

HOST = b"\2mx\7example\0"


@pytest.mark.parametrize(
    ("kind", "data", "record"),
    [
        ("A", b"\xc0\0\2\1", "192.0.2.1"),
        ("AAAA", bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
        ("AAAA", bytes.fromhex("00000000000000000000ffffc0000201"), "::ffff:192.0.2.1"),
        ("MX", b"\0\x0a" + HOST, (10, "mx.example")),
        ("MX", b"\0\0\0", (0, ".")),
        ("TXT", b"\3abc\0\2de", b"abcde"),
        ("TXT", b"\0", b""),
        ("PTR", HOST, "mx.example"),
        ("CNAME", HOST, "mx.example"),
        ("SRV", b"\0\1\0\2\2\x4b" + HOST, (1, 2, 587, "mx.example")),
        ("TLSA", b"\3\1\1" + b"\xab" * 32, (3, 1, 1, b"\xab" * 32)),
    ],
)
def test_records(kind: Kind, data: bytes, record: object) -> None:
    found = read(kind, data)
    assert found == record or (kind == "AAAA" and found == "::ffff:c000:201")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("A", b"\1\2\3"),
        ("AAAA", b"\1" * 15),
        ("MX", b"\0"),
        ("MX", b"\0\1" + HOST + b"x"),
        ("TXT", b""),
        ("TXT", b"\5abc"),
        ("SRV", b"\0\1\0\2\0"),
        ("TLSA", b"\3\1\1"),
        ("PTR", b""),
        ("CNAME", b"\xc0\0"),
    ],
)
def test_broken_records(kind: Kind, data: bytes) -> None:
    with pytest.raises(ValueError):
        read(kind, data)


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=80))
def test_any_octets_are_a_record_or_an_error(kind: Kind, data: bytes) -> None:
    try:
        record = read(kind, data)
    except ValueError:
        return
    assert isinstance(record, str | bytes | tuple)


def test_each_kind_has_a_number() -> None:
    assert NUMBERS.keys() == KINDS
