"""What is a name, what is a host name, and names in wire form, from anybody."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.dns.names import is_host_name, normal, read_name, reverse_name, spelled

LABELS = st.text(st.sampled_from(string.ascii_letters + string.digits + "-_"), min_size=1, max_size=63)
NAMES = st.lists(LABELS, min_size=1, max_size=8).map(".".join).filter(lambda name: len(name) <= 253)


def wire(labels: list[bytes]) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


@given(NAMES)
def test_names_are_lower_case_without_a_last_dot(name: str) -> None:
    assert normal(name) == normal(name + ".") == normal(name.upper()) == name.lower()


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a..b", ".a", "a b", "a\nb", "a\0b", "ä.example", "a\\.b", "x" * 64, "a." * 127 + "ab", "a b."],
)
def test_what_is_no_name(text: str) -> None:
    assert normal(text) is None


def test_names_of_macros_and_lists_may_hold_more_than_host_names() -> None:
    assert normal("strong+bad=x/24._spf.example") == "strong+bad=x/24._spf.example"
    assert normal("_25._tcp.MX.example.") == "_25._tcp.mx.example"
    assert normal("a." * 126 + "a") == "a." * 126 + "a"


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_none(text: str) -> None:
    found = normal(text)
    assert found is None or (len(found) <= 253 and found.isascii() and all(0 < len(x) < 64 for x in found.split(".")))


@pytest.mark.parametrize(
    "name", ["mx.example", "MX1.example", "a_b.example", "localhost", "xn--bcher-kva.example", "1a"]
)
def test_host_names(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "192.0.2.1", "1", "-a.example", "a-.example", "a\\032b.example", "a..b", "*.example", "a" * 64, "a b"],
)
def test_what_is_no_host_name(name: str) -> None:
    assert not is_host_name(name)


def test_reverse_names() -> None:
    assert reverse_name("192.0.2.7") == "7.2.0.192.in-addr.arpa"
    assert reverse_name("2001:db8::1") == "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"
    assert reverse_name("fe80::1%eth0").endswith("8.e.f.ip6.arpa")
    with pytest.raises(ValueError):
        reverse_name("mx.example")


@given(st.lists(LABELS, max_size=8).filter(lambda labels: sum(map(len, labels)) + len(labels) < 254))
def test_wire_names_come_back(labels: list[str]) -> None:
    data = wire([label.encode() for label in labels])
    name, end = read_name(b"xy" + data + b"rest", 2)
    assert name == (".".join(labels).lower() or ".")
    assert end == 2 + len(data)


def test_strange_octets_are_spelled_in_numbers() -> None:
    assert read_name(wire([b"a.b", b"c d\xff", b"*"]), 0)[0] == r"a\046b.c\032d\255.*"
    assert spelled(b"M\xfcnchen.Example.") == r"m\252nchen.example"
    assert spelled("") == spelled(".") == "."


@pytest.mark.parametrize(
    "data", [b"", b"\3ab", b"\x40" + b"a" * 64 + b"\0", b"\xc0\x0c", wire([b"a" * 63] * 4), b"\1a"]
)
def test_broken_wire_names_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_name(data, 0)


@given(st.binary(max_size=300), st.integers(0, 310))
def test_any_octets_are_a_name_or_an_error(data: bytes, at: int) -> None:
    try:
        name, end = read_name(data, at)
    except ValueError:
        return
    assert at < end <= len(data)
    assert name.isascii()
    assert end - at <= 255
