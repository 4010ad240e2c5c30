"""The PROXY protocol: what is taken, what is refused, how much may be asked for."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.smtp.proxy import MAX_V2, Header, ProxyError, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(payload)) + payload


INET = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 40000, 25)
INET6 = (
    b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02" + struct.pack("!HH", 1, 25)
)
MAPPED = bytes(10) + b"\xff\xff\xc0\x00\x02\x01" + bytes(10) + b"\xff\xff\xc6\x33\x64\x02" + struct.pack("!HH", 1, 25)
IPV4 = (("192.0.2.1", 40000), ("198.51.100.2", 25))
IPV6 = (("2001:db8::1", 1), ("2001:db8::2", 25))

GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n", IPV4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 25\r\n", IPV6),
    (b"PROXY UNKNOWN\r\n", (None, None)),
    (b"PROXY UNKNOWN what ever 1 2\r\n", (None, None)),
    (v2(1, 0x11, INET), IPV4),
    (v2(1, 0x21, INET6), IPV6),
    (v2(1, 0x21, MAPPED), (("192.0.2.1", 1), ("198.51.100.2", 25))),
    (v2(1, 0x11, INET + b"\x04\x00\x03abc" + b"\x20" * 200), IPV4),  # TLVs
    (v2(0, 0x00, b""), (None, None)),  # LOCAL
    (v2(0, 0x11, INET), (None, None)),
    (v2(1, 0x00, b"x" * 20), (None, None)),  # UNSPEC
    (v2(1, 0x31, bytes(216)), (None, None)),  # UNIX
    (v2(1, 0x12, INET), (None, None)),  # UDP
]


@pytest.mark.parametrize(("header", "ends"), GOOD, ids=lambda x: repr(x)[:40])
def test_headers(header, ends):
    assert parse(header + b"EHLO c\r\n") == Header(len(header), *ends)
    for cut in range(len(header)):
        assert parse(header[:cut]) is None


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO c\r\n",
        b"PROXX",
        b"\r\n\r\nx",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 \xff 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n" + b"x" * 80,
        b"PROXY UNKNOWN " + b"x" * 100,
        v2(2, 0x11, INET),
        SIGNATURE + b"\x11\x11\x00\x0c" + INET,
        v2(1, 0x11, INET[:11]),
        v2(1, 0x21, INET),
        v2(1, 0x41, INET),
        v2(1, 0x13, INET),
        v2(1, 0x11, INET + bytes(2100)),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_what_is_no_header(header):
    with pytest.raises(ProxyError):
        parse(header)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_any_octets_are_a_header_or_refused_or_too_few(data, start):
    try:
        header = parse(start + data)
    except ProxyError:
        return
    assert header is None or header.length <= min(len(start + data), MAX_V2)
