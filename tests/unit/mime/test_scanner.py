"""The offset scanner: where parts begin and end, what is read into broken messages, and what it keeps meanwhile."""

from __future__ import annotations

import fuzz_mime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from pillarbox.mime import scanner as scanner_module
from pillarbox.mime.analysis import Part, Scanner, analyse, load_parts
from pillarbox.mime.scanner import MAX_DEPTH, MAX_PARTS, OffsetScanner


def tree(data: bytes) -> Part:
    return load_parts(analyse(data).parts)


def contents(data: bytes) -> list[bytes]:
    """The contents of all leaves, in order."""

    def leaves(part: Part) -> list[bytes]:
        if not part.children:
            return [data[part.body : part.end]]
        return [content for child in part.children for content in leaves(child)]

    return leaves(tree(data))


def multipart(*lines: bytes, boundary: bytes = b"b") -> bytes:
    return b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n%b\r\n" % (boundary, b"\r\n".join(lines))


def test_the_line_end_before_a_delimiter_is_not_content() -> None:
    assert contents(multipart(b"--b", b"", b"one", b"", b"--b", b"", b"two", b"--b--")) == [b"one\r\n", b"two"]


def test_a_part_without_header_begins_after_the_empty_line() -> None:
    data = multipart(b"--b", b"", b"text", b"--b--")
    part = tree(data).children[0]
    assert data[part.header : part.body] == b"\r\n"
    assert (part.type, part.subtype, part.charset) == ("text", "plain", "us-ascii")


def test_lines_count_the_line_feeds_of_text() -> None:
    data = multipart(b"--b", b"", b"1", b"2", b"", b"--b", b"Content-Type: image/png", b"", b"1", b"2", b"", b"--b--")
    assert [part.lines for part in tree(data).children] == [2, 0]


def test_an_embedded_message_counts_its_header_and_its_delimiters_as_lines() -> None:
    inner = [b"Subject: x", b"Content-Type: multipart/mixed; boundary=i", b"", b"--i", b"", b"t", b"--i--"]
    data = multipart(b"--b", b"Content-Type: message/rfc822", b"", *inner, b"--b--")
    part = tree(data).children[0]
    assert data[part.body : part.end] == b"\r\n".join(inner)
    assert part.lines == 6


@pytest.mark.parametrize(
    "line", [b"--bb", b"--b-", b"--b---", b" --b", b"x--b", b"--", b"--B", b"-- b", b"--b-- --x"[:3] + b"x"]
)
def test_what_only_looks_like_a_delimiter_is_content(line: bytes) -> None:
    assert contents(multipart(b"--b", b"", b"one", line, b"--b--")) == [b"one\r\n" + line]


@pytest.mark.parametrize("line", [b"--b", b"--b ", b"--b\t \t", b"--b and more words"])
def test_a_delimiter_may_be_followed_by_padding_and_words(line: bytes) -> None:
    assert contents(multipart(b"--b", b"", b"one", line, b"", b"two", b"--b--")) == [b"one", b"two"]


def test_a_boundary_that_ends_in_a_space_is_compared_whole_first() -> None:
    data = b'Content-Type: multipart/mixed; boundary="b "\n\n--b \n\none\n--b\ntwo\n--b --\n'
    assert contents(data) == [b"one\n--b\ntwo"]


def test_nothing_is_a_delimiter_after_the_closing_one() -> None:
    root = tree(multipart(b"--b", b"", b"one", b"--b--", b"--b", b"", b"epilogue", b"--b--"))
    assert len(root.children) == 1


def test_an_outer_delimiter_ends_all_that_is_open_inside() -> None:
    data = multipart(
        b"--b", b"Content-Type: multipart/mixed; boundary=i", b"", b"--i", b"Content-Type: message/rfc822", b"",
        b"Subject: the header never ends", b"--b", b"", b"after", b"--b--",
    )  # fmt: skip
    first, second = tree(data).children
    message = first.children[0]
    assert (message.type, message.children[0].type) == ("message", "text")
    assert message.children[0].body == message.children[0].end == message.end
    assert data[second.body : second.end] == b"after"


def test_the_same_boundary_inside_belongs_to_the_innermost_until_it_is_closed() -> None:
    data = multipart(
        b"--b", b"Content-Type: multipart/mixed; boundary=b", b"", b"--b", b"", b"in", b"--b--", b"--b", b"", b"out",
        b"--b--",
    )  # fmt: skip
    first, second = tree(data).children
    assert len(first.children) == 1
    assert data[second.body : second.end] == b"out"


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Type: multipart/mixed\r\n\r\ntext\r\n",
        multipart(b"text"),
        multipart(b"text", b"--b--", b"epilogue"),
        multipart(b"text", b"--b"),
        b"Content-Type: multipart/mixed; boundary=" + b"x" * 9000 + b"\r\n\r\n--" + b"x" * 9000 + b"\r\n\r\ntext\r\n",
    ],
    ids=["no boundary", "no delimiter", "only a closing one", "nothing after it", "boundary too long"],
)
def test_a_multipart_without_parts_has_one_text_that_is_all_of_it(data: bytes) -> None:
    root = tree(data)
    (child,) = root.children
    assert (child.type, child.subtype, child.header, child.body, child.end) == (
        "text",
        "plain",
        root.body,
        root.body,
        root.end,
    )
    assert child.lines == data.count(b"\n", child.body)


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"x-unknown"])
def test_an_encoded_message_is_not_looked_into(encoding: bytes) -> None:
    data = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: %b\r\n\r\nSubject: x\r\n\r\ny" % encoding
    (child,) = tree(data).children
    assert (child.header, child.body, child.type) == (tree(data).body, tree(data).body, "text")


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"", 0),
        (b"\r\n", 2),
        (b"\n", 1),
        (b"\r\ntext", 2),
        (b"Subject: x", 10),
        (b"Subject: x\r\n", 12),
        (b"Subject: x\r\n\r\n", 14),
        (b"Subject: x\n\ny", 12),
        (b"Subject: x\r\n \r\n\r\ny", 17),
        (b"no field at all\r\n\r\ny", 0),
        (b"From x@example.org Mon\nSubject: x\n\ny", 35),
        (b" a continuation of nothing\r\nSubject: x\r\n\r\ny", 42),
        (b"X" * 2000 + b": not a name\r\n\r\ny", 0),
        (b"Subject : x\r\nno field\r\nTo: y\r\n\r\nz", 32),
    ],
)
def test_where_the_body_begins(data: bytes, body: int) -> None:
    assert analyse(data).header_size == body


def test_a_header_over_the_cap_is_read_to_the_cap_and_its_end_is_found() -> None:
    data = b"Subject: first\r\nX: " + b"x" * 400_000 + b"\r\nTo: late@example.org\r\n\r\nbody"
    analysis = analyse(data)
    assert analysis.subject == "first"
    assert analysis.header_size == len(data) - 4
    assert b"late" not in analysis.envelope
    scanner = Scanner()
    for at in range(0, len(data), 1000):
        scanner.feed(data[at : at + 1000])
    assert scanner.finish() == analysis


def test_headers_together_are_read_to_their_cap() -> None:
    part = [b"--b", b"X: " + b"x" * 200_000, b"Content-Type: image/png", b"", b""]
    types = [part.type for part in tree(multipart(*(part * 10))).children]
    assert types[:4] == ["image"] * 4
    assert types[8:] == ["text", "text"]


def test_parts_nested_over_the_cap_are_one_text() -> None:
    lines = []
    for i in range(MAX_DEPTH + 20):
        lines += [b"Content-Type: multipart/mixed; boundary=b%d." % i, b"", b"--b%d." % i]
    part, depth = tree(b"\r\n".join([*lines, b"", b"deep"])), 0
    while part.children:
        part, depth = part.children[0], depth + 1
    assert depth == MAX_DEPTH
    assert part.type == "text"


def test_messages_nested_over_the_cap_are_not_looked_into() -> None:
    part, depth = tree(b"Content-Type: message/rfc822\r\n\r\n" * (MAX_DEPTH + 20)), 0
    while part.children:
        part, depth = part.children[0], depth + 1
    assert depth == MAX_DEPTH
    assert part.type == "text"


def test_of_too_many_parts_the_last_holds_the_rest() -> None:
    data = multipart(*[b"--b\r\n\r\n%d" % i for i in range(MAX_PARTS + 100)], b"--b--")
    root = tree(data)
    assert len(root.children) == MAX_PARTS - 1
    last = root.children[-1]
    assert last.end == root.end
    assert data[last.body : last.end].startswith(b"%d\r\n--b\r\n" % (MAX_PARTS - 2))


def test_after_too_many_candidates_no_delimiter_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "MAX_CANDIDATES", 10)
    assert len(contents(multipart(*[b"--b", b"", b"--bx"] * 10, b"--b--"))) == 10
    assert len(contents(multipart(b"--b", b"", *[b"--bx"] * 11, b"--b", b"", b"two", b"--b--"))) == 1
    header = [b"--b", b"Content-Type: text/html", *[b"--bx"] * 11, b"X: y", b"", b"two", b"--b", b"", b"--b--"]
    assert contents(multipart(*header)) == [b"two\r\n--b\r\n\r\n--b--\r\n"]


def test_only_what_is_needed_is_kept() -> None:
    scanner = OffsetScanner()
    scanner.feed(multipart(b"--b", b"Content-Type: application/octet-stream", b"", b""))
    for _ in range(200):
        scanner.feed(b"x" * 5000 + b"\r\n--" + b"y" * 5000)
        assert len(scanner._kept) < 20_000
    scanner = OffsetScanner()
    scanner.feed(b"X: ")
    for _ in range(200):
        scanner.feed(b"x" * 5000)
        assert len(scanner._kept) < 300_000


PIECES = st.sampled_from([
    b"--b", b"--c", b"--b--", b"--", b"\r\n", b"\n", b"\r", b" ", b"x", b":", b"Subject: x", b"\xe9", b"\0",
    b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: multipart/digest; boundary=c",
    b"Content-Type: message/rfc822", b"Content-Type: text/html", b"Content-Transfer-Encoding: base64",
])  # fmt: skip


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(PIECES, max_size=60).map(b"".join))
def test_any_octets_in_any_split_make_one_well_formed_analysis(data: bytes) -> None:
    fuzz_mime.run(data)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(PIECES, max_size=60).map(b"".join), st.lists(st.integers(1, 30), max_size=30))
def test_a_bytearray_or_memoryview_that_changes_afterwards_does_no_harm(data: bytes, sizes: list[int]) -> None:
    scanner, at = Scanner(), 0
    buffer = bytearray(64)
    for size in [*sizes, *[30] * (len(data) // 30 + 1)]:
        piece = data[at : at + size]
        buffer[: len(piece)] = piece
        scanner.feed(memoryview(buffer)[: len(piece)])  # type: ignore[arg-type]
        buffer[:] = b"#" * 64
        at += size
    assert scanner.finish() == analyse(data)
