"""What `sendmail` makes of its standard input and its command line, without a server."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.cli import sendmail_message
from pillarbox.cli.sendmail_message import DataError, Message, read_message
from pillarbox.cli.sendmail_options import Mode, Options, UsageError, parse_options


def read(data: bytes, *, dots: bool = True) -> Message:
    return read_message(io.BytesIO(data), dots=dots)


def whole(data: bytes, *, dots: bool = True) -> bytes:
    message = read(data, dots=dots)
    content = b"".join(message.content())
    message.body.close()
    return content


def completed(data: bytes, name: str = "") -> bytes:
    message = read(data)
    message.complete("ada@example.org", name, "mail.example.org", 1_800_000_000.0)
    content = b"".join(message.content())
    assert len(content) == message.size
    return content


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"Subject: x\n\nhello\n", b"Subject: x\r\n\r\nhello\r\n"),
        (b"Subject: x\r\n\r\nhello\r\n", b"Subject: x\r\n\r\nhello\r\n"),
        (b"Subject: x\n\nno end", b"Subject: x\r\n\r\nno end\r\n"),
        (b"Subject: x\n", b"Subject: x\r\n\r\n"),
        (b"", b"\r\n"),
        (b"just text\n", b"\r\njust text\r\n"),
        (b"Subject: x\nno field\nmore\n", b"Subject: x\r\n\r\nno field\r\nmore\r\n"),
        (b"From a@b Mon Jan 1 00:00:00 2026\nSubject: x\n\nhi\n", b"Subject: x\r\n\r\nhi\r\n"),
        (b"Subject: x\n folded\n\ty\n\nhi\n", b"Subject: x\r\n folded\r\n\ty\r\n\r\nhi\r\n"),
        (b"Subject: x\n\na\rb\r\r\nc\n", b"Subject: x\r\n\r\na\r\nb\r\nc\r\n"),
        (b"Subject: x\n\n..\n.\nnever\n", b"Subject: x\r\n\r\n..\r\n"),
        (b"Subject: x\n\nhi\n.\r\nnever\n", b"Subject: x\r\n\r\nhi\r\n"),
        (b"Subject: x\n\nhi\n.", b"Subject: x\r\n\r\nhi\r\n"),
        (b".\nnever", b"\r\n"),
        ("Subject: ä\n\nö\n".encode(), "Subject: ä\r\n\r\nö\r\n".encode()),
    ],
)
def test_line_ends_the_end_and_the_empty_line(given: bytes, expected: bytes) -> None:
    assert whole(given) == expected


def test_dots_are_kept_when_they_end_nothing() -> None:
    assert whole(b"Subject: x\n\n.\n..\nlast\n", dots=False) == b"Subject: x\r\n\r\n.\r\n..\r\nlast\r\n"


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b".", b"Subject: x\n", b" ", b":", b"x" * 70_000])))
def test_whatever_comes_is_lines_with_crlf(pieces: list[bytes]) -> None:
    content = whole(b"".join(pieces), dots=False)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    letters = bytes(c for c in content if c not in b"\r\n")
    assert letters == bytes(c for c in b"".join(pieces) if c not in b"\r\n")


def test_a_nul_and_an_endless_header_are_no_mail() -> None:
    with pytest.raises(DataError, match="NUL"):
        whole(b"Subject: x\n\na\0b\n")
    with pytest.raises(DataError, match="header"):
        whole(b"Subject: " + b"x" * (2 << 20))
    with pytest.raises(DataError, match="header"):
        whole(b"X: y\n" * 300_000)


def test_a_large_body_waits_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    line = b"0123456789" * 7 + b"\n"
    message = read(b"Subject: x\n\n" + line * 50_000)
    assert message.body._file is not None and not message.body._pieces
    for _ in range(2):  # it can be sent twice
        assert b"".join(message.body.pieces()) == line.replace(b"\n", b"\r\n") * 50_000
    assert message.size == len(b"Subject: x\r\n\r\n") + 72 * 50_000
    message.body.close()
    monkeypatch.setattr(sendmail_message, "IN_MEMORY", 2 << 20)
    monkeypatch.setattr(sendmail_message, "MAX_MESSAGE", 1 << 20)
    with pytest.raises(DataError, match="large"):
        read(b"Subject: x\n\n" + line * 50_000)


def test_what_is_missing_is_added_and_bcc_goes() -> None:
    content = completed(b"To: b@example.net\nBcc: secret@example.net,\n more@example.net\nResent-Bcc: x@y\n\nhi\n")
    header = content.partition(b"\r\n\r\n")[0].decode()
    assert "secret" not in header and "more@" not in header and "x@y" not in header
    assert "\r\nFrom: ada@example.org\r\n" in header
    assert re.search(r"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}(\r\n|$)", header)
    assert re.search(r"\r\nMessage-ID: <20270115\d+\.[0-9a-f]{16}@mail\.example\.org>$", header)


def test_what_is_there_stays() -> None:
    given = b"from: X <x@y.test>\nDATE: some day\nmessage-id: <1@y.test>\nbcc : a@b\n\nhi\n"
    assert completed(given) == b"from: X <x@y.test>\r\nDATE: some day\r\nmessage-id: <1@y.test>\r\n\r\nhi\r\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", "Ada Lovelace <ada@example.org>"),
        ("Ada (Countess)", '"Ada (Countess)" <ada@example.org>'),
        ('A "B" \\', '"A \\"B\\" \\\\" <ada@example.org>'),
        ("Ädä", "=?utf-8?B?w4Rkw6Q=?= <ada@example.org>"),
        ("new\nBcc: x@y", '"new Bcc: x@y" <ada@example.org>'),
        ("ü" * 30, "=?utf-8?B?"),
    ],
)
def test_names(name: str, expected: str) -> None:
    content = completed(b"Subject: x\n\nhi\n", name).decode()
    line = next(line for line in content.split("\r\n") if line.startswith("From: "))
    assert expected in line
    assert all(len(word) <= 75 for word in line.split())


def test_recipients_of_the_header() -> None:
    given = (
        b'To: "A, B" <a@x.test>, b@x.test (comment)\nCC: team: c@x.test, d@x.test;\n e@x.test\n'
        b"Bcc: <f@x.test>, local\nReply-To: no@x.test\nSubject: g@x.test\n\nTo: h@x.test\n"
    )
    assert read(given).recipients() == [*(f"{c}@x.test" for c in "abcde"), "f@x.test", "local"]
    assert read(b"To: a@x.test\nResent-To: b@x.test\nResent-Bcc: c@x.test\n\n").recipients() == ["b@x.test", "c@x.test"]
    assert read(b'To: "a b"@x.test\n\n').recipients() == ['"a b"@x.test']
    assert read("To: jürgen@x.test\n\n".encode()).recipients() == ["jürgen@x.test"]
    assert read(b"To: undisclosed-recipients:;\n\n").recipients() == []
    with pytest.raises(DataError, match="UTF-8"):
        read(b"To: \xff@x.test\n\n").recipients()


def test_a_header_cannot_be_smuggled_in_by_a_bare_cr() -> None:
    content = completed(b"Subject: x\rBcc: secret@y.test\n\nhi\n")
    assert b"secret" not in content


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a@b", Options(recipients=("a@b",))),
        ("-f x@y a@b", Options(sender="x@y", recipients=("a@b",))),
        ("-fx@y a@b", Options(sender="x@y", recipients=("a@b",))),
        ("-r <x@y> a@b", Options(sender="x@y", recipients=("a@b",))),
        ("a@b -f x@y", Options(sender="x@y", recipients=("a@b",))),
        ("-f <> a@b", Options(sender="", recipients=("a@b",))),
        ("-t -i -oi", Options(from_header=True, dots=False)),
        ("-ti", Options(from_header=True, dots=False)),
        ("-it", Options(from_header=True, dots=False)),
        ("-oi -oem -odb -om a@b", Options(dots=False, recipients=("a@b",))),
        ("-o i a@b", Options(dots=False, recipients=("a@b",))),
        ("-OIgnoreDots=True a@b", Options(dots=False, recipients=("a@b",))),
        ("-O DeliveryMode=b a@b", Options(recipients=("a@b",))),
        ("-FAda -B8BITMIME -em -n -G -U -m a@b", Options(full_name="Ada", recipients=("a@b",))),
        ("-N success,failure -R hdrs -V id-1 a@b",
         Options(notify="SUCCESS,FAILURE", ret="HDRS", envid="id-1", recipients=("a@b",))),
        ("-N never a@b", Options(notify="NEVER", recipients=("a@b",))),
        ("-h 3 -L tag -X log -C file -p ESMTP a@b", Options(recipients=("a@b",))),
        ("-v -bm -- -f a@b", Options(verbose=True, recipients=("-f", "a@b"))),
        ("-bp", Options(mode=Mode.LIST)),
        ("-bs", Options(mode=Mode.SMTP)),
        ("-bi", Options(mode=Mode.ALIASES)),
        ("-I", Options(mode=Mode.ALIASES)),
        ("-q", Options(mode=Mode.FLUSH)),
        ("-qI17", Options(mode=Mode.FLUSH, only="17")),
    ],
)  # fmt: skip
def test_options(line: str, expected: Options) -> None:
    assert parse_options(line.split()) == expected


@pytest.mark.parametrize(
    "line", ["-bd", "-bz", "-q30m", "-f", "-z", "-", "-N maybe", "-N never,success", "-R all", "--x"]
)
def test_wrong_options(line: str) -> None:
    with pytest.raises(UsageError):
        parse_options(line.split())


@given(st.lists(st.text(st.sampled_from("-abfinoqrtvxFNORV=,")), max_size=6))
def test_any_command_line_is_options_or_wrong(words: list[str]) -> None:
    try:
        parse_options(words)
    except UsageError as error:
        assert str(error)
