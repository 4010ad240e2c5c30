"""Messages made to hurt: whatever is repeated in them, four times as much of it costs about four times the time.

The cost is the processor time of this process, the least of some runs; quadratic work would show as sixteen times. The
bound is generous, and a bound on the time itself catches what is slow from the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import fuzz_mime
import pytest

from pillarbox.mime.analysis import Part, Scanner, analyse, load_parts
from pillarbox.mime.charset import decode
from pillarbox.mime.header import decoded_value, header_text, select_fields
from pillarbox.mime.html import html_text
from pillarbox.mime.subject import base_subject
from pillarbox.mime.text import search_text
from pillarbox.mime.transfer import decode_transfer

MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def nested_multiparts(n: int) -> bytes:
    return b"".join([b"Content-Type: multipart/mixed; boundary=b%d.\r\n\r\n--b%d.\r\n" % (i, i) for i in range(n)])


MESSAGES: dict[str, Callable[[int], bytes]] = {
    "delimiters": lambda n: MIXED + b"--b\r\n\r\nx\r\n" * n,
    "empty delimiters": lambda n: MIXED + b"--b\n" * n,
    "closing delimiters": lambda n: MIXED + b"--b--\r\n" * n,
    "lines that begin like a delimiter": lambda n: MIXED + b"--b\r\n\r\n" + b"--bx\n" * n,
    "delimiters with words": lambda n: MIXED + b"--b\r\n\r\n" + b"--bx y z \n" * n,
    "dashes": lambda n: MIXED + b"--b\r\n\r\n" + b"-" * 4 * n,
    "dashes after line ends": lambda n: MIXED + b"--b\r\n\r\n" + b"\n-" * n,
    "delimiters in the header of a part": lambda n: MIXED + b"--b\r\nX: y\n" + b"--bx\n" * n,
    "one long delimiter line": lambda n: MIXED + b"--b" + b" " * 8 * n,
    "nested multiparts": nested_multiparts,
    "nested messages": lambda n: b"Content-Type: message/rfc822\r\n\r\n" * n,
    "digests": lambda n: (
        b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + b"--b\r\n\r\nSubject: x\r\n\r\nx\r\n" * n
    ),
    "line ends": lambda n: b"\r\n" * n,
    "line ends in the header": lambda n: b"X:\n" * n,
    "lines without a colon": lambda n: b"X: y\n" + b"xxxxxx\n" * n,
    "one header line": lambda n: b"X: " + b"x" * 8 * n,
    "a name without end": lambda n: b"X: y\n" + b"x" * 8 * n,
    "spaces before a colon": lambda n: b"X: y\nX" + b" " * 8 * n,
    "folds": lambda n: b"Subject: x" + b"\r\n " * n,
    "To fields": lambda n: b"To: a@x\r\n" * n,
    "addresses": lambda n: b"To: " + b"a@x," * n,
    "odd addresses": lambda n: b"To: " + b"(c) <@r:a@x>," * n,
    "groups": lambda n: b"To: " + b"g:;" * n,
    "Content-Types": lambda n: b"Content-Type: a/b\n" * n,
    "one boundary": lambda n: b"Content-Type: multipart/mixed; boundary=" + b"b" * n + b"\r\n\r\n" + b"\n--" + b"b" * n,
}
# What one field value is made of, again and again, in every field that is parsed.
PIECES = [
    b"(", b")", b'"', b'\\"', b'"\\', b"<", b">", b"@", b",", b":", b";", b".", b"[", b"]", b" ", b"\t", b"\r\n ",
    b"\\", b"a", b"a ", b"a@", b"a.", b". ", b"@ .", b"<a", b'""', b'" "', b"()", b"(a) ", b"=", b"=?", b"?=",
    b"=?a?q?", b"=?a?q?x?= ", b"=?a?q?x", b"=?utf-8?b?", b"=?a", b"a=", b"; a=", b";a=b", b"; a*0=", b"; a*=",
    b"a*1*=x;", b'; a="', b"; a=b ", b"a/", b"/", b"%", b"''", b"re:", b"re: ", b"[a]", b"[", b"[fwd:", b"(fwd)",
    b"fwd: [a] ", b"<a@b>", b"1 ", b"1:", b"-", b"Jan ", b"\xe9", b"\0", b"en,",
]  # fmt: skip
FIELDS = (b"Subject", b"From", b"To", b"Date", b"References", b"Content-Language", b"Content-ID")
CONTENT_FIELDS = (
    b"Content-Type: ", b"Content-Type: text/plain; x", b"Content-Type: multipart/mixed; boundary=b; x=",
    b"Content-Disposition: attachment",
)  # fmt: skip


def cost(work: Callable[[bytes], object], data: bytes, runs: int) -> float:
    least = 1e9
    for _ in range(runs):
        began = time.process_time()
        work(data)
        least = min(least, time.process_time() - began)
    return least


def assert_linear(work: Callable[[bytes], object], make: Callable[[int], bytes], n: int) -> None:
    """Four times as much in at most eight times the time (less than two milliseconds are not told apart)."""
    small, large = make(n), make(4 * n)
    for runs in (1, 3, 5):  # a loaded machine gets more tries
        ratio = cost(work, large, runs) / max(cost(work, small, runs), 0.002)
        if ratio <= 8:
            return
    pytest.fail(f"four times as much takes {ratio:.1f} times as long")


def analyse_all(data: bytes) -> None:
    """Everything that reads a message: the analysis, and what a search or a fetch does later."""
    analysis = analyse(data)
    root = load_parts(analysis.parts)
    search_text(lambda start, end: data[start:end], root, headers=True)
    header = data[: root.body]
    select_fields(header, [b"subject"])
    decoded_value(header, b"subject")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_takes_linear_time(name: str) -> None:
    assert_linear(analyse_all, MESSAGES[name], 5000)


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_a_field_takes_linear_time(piece: bytes) -> None:
    def make(n: int) -> bytes:
        return b"".join([b"%b: %b\r\n" % (field, piece * (n // len(piece))) for field in FIELDS]) + b"\r\nx"

    assert_linear(analyse_all, make, 5000)
    for start in CONTENT_FIELDS:
        assert_linear(analyse_all, lambda n, start=start: start + piece * (n // len(piece)) + b"\r\n\r\nx", 10_000)


HTML = [
    "<", ">", "<p", "<p>", "</", "<!--", "-->", "<!-- -->", "<script", "<script>", "<script></script>", "<style>",
    "<head>", "<head", "<title>", "&", "&#", "&#9", "&#x", "9", "&amp", "&amp;", " ", "\n", "\n ", "<b", '<a "', "İ",
    "<!", "<head></",
]  # fmt: skip


@pytest.mark.parametrize("piece", HTML)
def test_html_takes_linear_time(piece: str) -> None:
    assert_linear(lambda data: html_text(data.decode()), lambda n: (piece * n).encode(), 10_000)
    assert_linear(lambda data: html_text("&#" + data.decode()), lambda n: (piece * n).encode(), 10_000)


@pytest.mark.parametrize(
    "piece", [b"=", b"=\r\n", b"= ", b" ", b" \r", b" \r\n", b"=3", b"A", b"A=", b"*", b"\n", b"_"]
)
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_transfer_encodings_take_linear_time(piece: bytes, encoding: str) -> None:
    assert_linear(lambda data: decode_transfer(data, encoding), lambda n: piece * n, 20_000)


@pytest.mark.parametrize(
    "charset", ["", "utf-8", "utf-7", "utf-16", "iso-2022-jp", "iso-2022-kr", "hz", "gb2312", "big5", "x"]
)
def test_charsets_take_linear_time(charset: str) -> None:
    for piece in (b"\xff", b"+", b"+A", b"\x1b$B", b"~{", b"\x0e", b"\xc3"):
        assert_linear(lambda data: decode(data, charset), lambda n, piece=piece: piece * n, 20_000)


@pytest.mark.parametrize("piece", ["re:", "[a]", "[", "]", "(fwd)", "[fwd:", "[fwd:]", "re[a]:", " ", "fwd: ", "re "])
def test_base_subjects_take_linear_time(piece: str) -> None:
    assert_linear(lambda data: base_subject(data.decode()), lambda n: (piece * n).encode(), 20_000)


def depth_of(root: Part) -> int:
    depth, parts = 0, [root]
    while parts:
        depth += 1
        parts = [child for part in parts for child in part.children]
    return depth


def test_ten_thousand_boundaries_and_five_thousand_levels() -> None:
    many = MIXED + b"--b\r\n\r\nx\r\n" * 10_000
    assert len(load_parts(analyse(many).parts).children) < 1000
    deep = nested_multiparts(5000)
    assert depth_of(load_parts(analyse(deep).parts)) <= 52
    boundaries = b"".join(
        [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n\r\n" % (i, i) for i in range(9000)]
    )
    for data in (many, deep, boundaries):
        fuzz_mime.run(data)


def test_a_header_line_of_one_mebibyte() -> None:
    data = b"Subject: " + b"x" * (1 << 20) + b"\r\nFrom: a@x.org\r\n\r\nbody"
    analysis = analyse(data)
    assert analysis.header_size == len(data) - 4
    assert len(analysis.envelope) <= 257 * 1024
    assert len(analysis.subject) == 1000
    assert len(header_text(data[: analysis.header_size])) <= 257 * 1024


def test_a_hundred_thousand_addresses() -> None:
    data = b"To: " + b",\r\n ".join([b"n%d <a%d@x.org>" % (i, i) for i in range(100_000)]) + b"\r\n\r\nbody"
    analysis = analyse(data)
    assert analysis.envelope.count(b'"x.org"') == 1000
    assert analysis.header_size == len(data) - 4


def test_what_is_kept_of_a_message_is_bounded() -> None:
    part = b"--b\r\nContent-Type: a/b; name=" + b"x" * 100_000 + b"\r\n\r\n"
    analysis = analyse(MIXED + part * 100)
    assert len(analysis.bodystructure) < 3 * 1024 * 1024
    assert len(analysis.parts) < 100_000


def test_octet_by_octet_is_linear_too() -> None:
    def feed(data: bytes) -> None:
        scanner = Scanner()
        for i in range(len(data)):
            scanner.feed(data[i : i + 1])
        scanner.finish()

    for make in (
        lambda n: b"X: " + b"x" * n,
        lambda n: b"X: y\n" * (n // 5),
        lambda n: MIXED + b"--b" + b" " * n,
        lambda n: MIXED + b"--b\r\n\r\n" + b"\n--bx" * (n // 5),
        lambda n: MIXED + b"--b\r\n" + b"x" * n,
    ):
        assert_linear(feed, make, 4000)
