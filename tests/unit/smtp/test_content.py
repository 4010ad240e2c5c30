"""The content of DATA: its end, its dots, its faults; compared with a reader that goes octet by octet."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.smtp import events
from pillarbox.smtp.content import DataReader

LIMIT, LINE = 60, 12


def read(pieces: list[bytes], limit: int = LIMIT, line: int = LINE):
    """(content, size, fault, what follows the end or None)"""
    reader, buffer, at, content, ended = DataReader(limit, line), b"\r\n", 0, b"", False
    for piece in pieces:
        buffer, at = buffer[at:] + piece, 0
        if not ended:
            block, at, ended = reader.read(buffer, at)
            content += block
    return content, reader.size, reader.fault, buffer[at:] if ended else None


def read_slowly(data: bytes):
    """The same by the letter of RFC 5321 section 4.5.2, a line at a time."""
    lines = data.split(b"\r\n")
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            content, after = lines[:number], b"\r\n".join(lines[number + 1 :])
            break
    else:
        return None
    plain = [line[1:] if line.startswith(b".") else line for line in content]
    text = b"".join(line + b"\r\n" for line in plain)
    fault = None
    if len(text) > LIMIT:
        fault = events.TOO_BIG
    elif any(b"\0" in line for line in plain):
        fault = events.NUL
    elif any(b"\r" in line or b"\n" in line for line in plain):
        fault = events.BARE_LINE_END
    elif any(len(line) > LINE for line in plain):
        fault = events.LONG_LINE
    return text[:LIMIT], len(text), fault, after


TOKENS = st.lists(
    st.sampled_from([b"\r\n", b"\r\n.\r\n", b"\r\n.", b".", b"\r", b"\n", b"\0", b"a", b"bcd", b"x" * 7]), max_size=24
).map(b"".join)


@given(TOKENS | st.binary(max_size=80))
def test_whole_contents_are_read_as_the_rfc_says(data):
    data += b"\r\n.\r\n"
    assert read([data]) == read_slowly(data)


@given(TOKENS, st.lists(st.integers(1, 9), max_size=40))
def test_any_split_reads_the_same(data, sizes):
    data += b"\r\n.\r\n"
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    pieces.append(data[at:])
    assert read(pieces) == read([data])


# The ends that were tried on servers in 2023 ("SMTP smuggling") and since. None of them ends anything.
SMUGGLED = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\n.\n\r", b"\n\n.\r\n",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n\0.\0\r\n", b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\n\r\n.\n\r\n",
    b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n .\r\n", b"\r\n..\r\n", b"\r\n.\x1a\r\n", b"\r\n.\x0b\r\n",
    b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8",
]  # fmt: skip


@pytest.mark.parametrize("end", SMUGGLED, ids=repr)
@pytest.mark.parametrize("split", [1, 2, 3, 1000])
def test_no_published_variant_ends_the_content(end, split):
    data = b"first" + end + b"MAIL FROM:<x@y.example>\r\n.\r\nrest"
    pieces = [data[at : at + split] for at in range(0, len(data), split)]
    content, _, fault, after = read(pieces, 1000, 1000)
    assert after == b"rest"
    assert content.endswith(b"MAIL FROM:<x@y.example>\r\n")
    unstuffed = end.replace(b"\r\n.", b"\r\n")
    bare = unstuffed.replace(b"\r\n", b"")
    assert (fault is None) == (not set(bare) & set(b"\r\n\0"))


def test_a_line_of_64_kib_is_taken_and_one_octet_more_is_not():
    limit = 64 * 1024
    for length, fault in ((limit, None), (limit + 1, events.LONG_LINE)):
        for stuffed in (b"", b"."):
            data = stuffed + (b"." if stuffed else b"x") + b"x" * (length - 1) + b"\r\nshort\r\n.\r\n"
            for split in (len(data), 40_000, 65_537):
                pieces = [data[at : at + split] for at in range(0, len(data), split)]
                assert read(pieces, 1 << 20, limit)[2] == fault


def test_a_long_line_is_found_among_short_ones():
    good = (b"x" * 70 + b"\r\n") * 3000
    assert read([good, good + b".\r\n"], 1 << 20, 1000)[2] is None
    assert read([good, b"y" * 1001 + b"\r\n", good + b".\r\n"], 1 << 20, 1000)[2] == events.LONG_LINE


def test_no_more_than_the_limit_is_given_out():
    content, size, fault, _ = read([b"x" * 10 + b"\r\n"] * 20 + [b".\r\n"])
    assert (len(content), size, fault) == (LIMIT, 240, events.TOO_BIG)


@pytest.mark.parametrize("piece", [b"\r\n.", b"\r", b".", b"\r\n", b"x", b"\r\n..\r\n"])
def test_no_input_makes_it_slow(piece):
    data = piece * (2_000_000 // len(piece))
    began = time.perf_counter()
    read([data[at : at + 65536] for at in range(0, len(data), 65536)], 1 << 30, 1 << 16)
    assert time.perf_counter() - began < 2  # some milliseconds; a quadratic reader takes minutes
