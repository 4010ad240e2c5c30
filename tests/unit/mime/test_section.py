"""IMAP section addressing: the examples of RFC 9051 section 6.4.5.1 and the corners of it."""

from __future__ import annotations

import pytest

from pillarbox.mime.analysis import analyse, load_parts
from pillarbox.mime.section import locate

# The message of the example in RFC 9051 section 6.4.5.1: 1 TEXT, 2 octets, 3 message (multipart), 4 multipart.
RFC = b"""Subject: the whole
Content-Type: multipart/mixed; boundary=A

--A

part 1
--A
Content-Type: application/octet-stream

part 2
--A
Content-Type: message/rfc822
Content-Description: embedded

Subject: three
Content-Type: multipart/mixed; boundary=B

--B

part 3.1
--B
Content-Type: application/octet-stream

part 3.2
--B--
--A
Content-Type: multipart/mixed; boundary=C

--C
Content-Type: image/gif

part 4.1
--C
Content-Type: message/rfc822

Subject: four two
Content-Type: multipart/mixed; boundary=D

--D
Content-Type: text/plain

part 4.2.1
--D
Content-Type: multipart/alternative; boundary=E

--E

part 4.2.2.1
--E
Content-Type: text/richtext

part 4.2.2.2
--E--
--D--
--C--
--A--
""".replace(b"\n", b"\r\n")


def section(data: bytes, numbers: str, kind: str = "") -> bytes | None:
    found = locate(load_parts(analyse(data).parts), tuple(int(n) for n in numbers.split(".") if n), kind)
    return None if found is None else data[found[0] : found[1]]


@pytest.mark.parametrize("numbers", ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2"])
def test_every_leaf_of_the_example_is_found(numbers: str) -> None:
    assert section(RFC, numbers) == b"part " + numbers.encode()


def test_the_message_itself() -> None:
    assert section(RFC, "") == RFC
    assert section(RFC, "", "HEADER") == b"Subject: the whole\r\nContent-Type: multipart/mixed; boundary=A\r\n\r\n"
    assert section(RFC, "", "HEADER") + section(RFC, "", "TEXT") == RFC  # type: ignore[operator]
    assert section(RFC, "", "MIME") is None


def test_an_embedded_message() -> None:
    whole = section(RFC, "3")
    assert whole is not None and whole.startswith(b"Subject: three\r\n") and whole.endswith(b"--B--")
    assert section(RFC, "3", "HEADER") == b"Subject: three\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
    assert section(RFC, "3", "TEXT") == whole[len(section(RFC, "3", "HEADER") or b"") :]
    assert section(RFC, "3", "MIME") == b"Content-Type: message/rfc822\r\nContent-Description: embedded\r\n\r\n"
    assert section(RFC, "4.2", "HEADER") == b"Subject: four two\r\nContent-Type: multipart/mixed; boundary=D\r\n\r\n"


def test_the_header_of_a_part() -> None:
    assert section(RFC, "4.2.2.2", "MIME") == b"Content-Type: text/richtext\r\n\r\n"
    assert section(RFC, "1", "MIME") == b"\r\n"
    assert (section(RFC, "4", "MIME") or b"").startswith(b"Content-Type: multipart/mixed; boundary=C")


@pytest.mark.parametrize(
    "numbers", ["5", "0", "1.1", "2.1", "3.3", "3.1.1", "4.1.1", "4.2.2.3", "4.2.2.1.1", "1.2.3.4.5"]
)
@pytest.mark.parametrize("kind", ["", "HEADER", "TEXT", "MIME"])
def test_what_is_not_there_is_none(numbers: str, kind: str) -> None:
    assert section(RFC, numbers, kind) is None


@pytest.mark.parametrize("kind", ["HEADER", "TEXT"])
@pytest.mark.parametrize("numbers", ["1", "4", "4.2.2"])
def test_only_messages_have_a_header_and_a_text(numbers: str, kind: str) -> None:
    assert section(RFC, numbers, kind) is None


def test_part_1_of_a_message_that_is_no_multipart_is_its_content() -> None:
    data = b"Subject: x\r\n\r\ncontent\r\n"
    assert section(data, "1") == b"content\r\n"
    assert section(data, "1", "MIME") == b"Subject: x\r\n\r\n"
    assert section(data, "2") is None
    assert section(data, "1.1") is None
    assert section(data, "1", "TEXT") is None


def test_a_message_that_is_a_message() -> None:
    data = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext"
    assert section(data, "1") == b"Subject: inner\r\n\r\ntext"
    assert section(data, "1", "HEADER") == b"Subject: inner\r\n\r\n"
    assert section(data, "1", "TEXT") == b"text"
    assert section(data, "1.1") == b"text"
    assert section(data, "1.2") is None


def test_part_1_of_an_embedded_message_that_is_no_multipart() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Content-Type: message/rfc822\r\nSubject: outer\r\n\r\nSubject: inner\r\n\r\ntext\r\n--b--"
    )
    assert section(data, "1", "HEADER") == b"Content-Type: message/rfc822\r\nSubject: outer\r\n\r\n"
    assert section(data, "1.1") == b"Subject: inner\r\n\r\ntext"
    assert section(data, "1.1", "HEADER") == b"Subject: inner\r\n\r\n"
    assert section(data, "1.1.1") == b"text"
    assert section(data, "1.1.1.1") is None


def test_a_multipart_without_parts_is_its_part_1() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno parts"
    assert section(data, "1") == b"no parts"
    assert section(data, "1", "MIME") == b""


def test_an_unknown_kind_is_none() -> None:
    assert section(RFC, "", "NOTHING") is None
