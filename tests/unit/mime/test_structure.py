"""BODY and BODYSTRUCTURE, and the description of a part that they are made of."""

from __future__ import annotations

import pytest

from pillarbox.mime.analysis import analyse, load_parts
from pillarbox.mime.content import describe, parse_content_type
from pillarbox.mime.header import fields_of
from pillarbox.mime.parameters import Pairs, parse_parameters, text_of


def body(header: bytes, content: bytes = b"x") -> bytes:
    return analyse(header + b"\r\n\r\n" + content).body


def structure(header: bytes, content: bytes = b"x") -> bytes:
    return analyse(header + b"\r\n\r\n" + content).bodystructure


def test_plain_text() -> None:
    assert body(b"Subject: x", b"one\r\ntwo\r\n") == b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 10 2)'
    assert structure(b"Subject: x").endswith(b'"7BIT" 1 0 NIL NIL NIL NIL)')


def test_other_types_have_no_lines() -> None:
    header = b"Content-Type: image/PNG; name=a.png\r\nContent-Transfer-Encoding: Base64\r\nContent-ID: <i@x>"
    assert body(header, b"AAAA\r\n") == b'("IMAGE" "PNG" ("NAME" "a.png") "<i@x>" NIL "BASE64" 6)'


def test_an_html_text_without_charset_has_none() -> None:
    assert body(b"Content-Type: text/html") == b'("TEXT" "HTML" NIL NIL NIL "7BIT" 1 0)'


def test_a_multipart() -> None:
    header = b'Content-Type: multipart/mixed; boundary=b; x="y"\r\nContent-Disposition: inline\r\nContent-Language: en'
    content = b"--b\r\n\r\none\r\n--b\r\nContent-Type: image/gif\r\n\r\nGIF\r\n--b--"
    one = b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0'
    two = b'("IMAGE" "GIF" NIL NIL NIL "7BIT" 3'
    assert body(header, content) == b'(%b)%b) "MIXED")' % (one, two)
    assert structure(header, content) == (
        b'(%b NIL NIL NIL NIL)%b NIL NIL NIL NIL) "MIXED" ("BOUNDARY" "b" "X" "y") ("INLINE" NIL) "en" NIL)'
        % (one, two)
    )


def test_a_message() -> None:
    content = b"Subject: in\r\nFrom: a@x.org\r\n\r\ntext\r\n"
    a = b'((NIL NIL "a" "x.org"))'
    envelope = b'(NIL "in" %b %b %b NIL NIL NIL NIL NIL)' % (a, a, a)
    text = b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 6 1'
    start = b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 36 ' + envelope
    assert body(b"Content-Type: message/rfc822", content) == start + b" " + text + b") 4)"
    assert structure(b"Content-Type: message/rfc822", content) == (
        start + b" " + text + b" NIL NIL NIL NIL) 4 NIL NIL NIL NIL)"
    )


def test_a_multipart_without_parts_shows_one_text() -> None:
    text = b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 1'
    assert body(b"Content-Type: multipart/mixed; boundary=b", b"abc\r\n") == text.join([b"(", b') "MIXED")'])


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"Content-MD5: abc==", b'"abc==" NIL NIL NIL'),
        (b"Content-Disposition: attachment", b'NIL ("ATTACHMENT" NIL) NIL NIL'),
        (
            b"Content-Disposition: Attachment; filename=a; size=3",
            b'NIL ("ATTACHMENT" ("FILENAME" "a" "SIZE" "3")) NIL NIL',
        ),
        (b"Content-Disposition: ; filename=a", b'NIL ("ATTACHMENT" ("FILENAME" "a")) NIL NIL'),
        (b"Content-Disposition:", b"NIL NIL NIL NIL"),
        (b"Content-Language: en", b'NIL NIL "en" NIL'),
        (b"Content-Language: en, de (really), fr", b'NIL NIL ("en" "de" "fr") NIL'),
        (b"Content-Language:", b"NIL NIL NIL NIL"),
        (b"Content-Location: http://x/\r\n y", b'NIL NIL NIL "http://x/y"'),
    ],
)
def test_extension_data(field: bytes, shown: bytes) -> None:
    assert structure(b"Content-Type: image/gif\r\n" + field) == b'("IMAGE" "GIF" NIL NIL NIL "7BIT" 1 %b)' % shown


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (b"base64", "base64"),
        (b" Quoted-Printable (yes)", "quoted-printable"),
        (b'"8bit"', "8bit"),
        (b"7bit;", "7bit"),
        (b"", "7bit"),
        (b"<>", "7bit"),
        (b"x-uuencode", "x-uuencode"),
    ],
)
def test_transfer_encodings(value: bytes, encoding: str) -> None:
    assert describe({b"content-transfer-encoding": value}).encoding == encoding


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b" text/html\r\n", (b"text", b"html", [])),
        (b"TEXT / Plain;charset=x", (b"text", b"plain", [(b"charset", b"x")])),
        (b"(a) text (b) / (c) plain (d); x=y", (b"text", b"plain", [(b"x", b"y")])),
        (b"text/plain charset=x", (b"text", b"plain", [(b"charset", b"x")])),
        (b"text", None),
        (b"text/", None),
        (b"/plain", None),
        (b"text/plain/format", None),
        (b"", None),
        (b"t\xe9xt/plain", None),
        (b"a" * 128 + b"/plain", None),
    ],
)
def test_content_types(value: bytes, expected: tuple[bytes, bytes, Pairs] | None) -> None:
    assert parse_content_type(value) == expected


def test_an_invalid_type_is_plain_text_even_in_a_digest() -> None:
    assert describe({b"content-type": b"nonsense"}).type == "text"
    assert describe({b"content-type": b"nonsense"}, digest=True).type == "text"
    assert describe({}, digest=True).is_message


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        (b"; a=b; C=d", [(b"a", b"b"), (b"c", b"d")]),
        (b';a="b;c" ; d = "e" ', [(b"a", b"b;c"), (b"d", b"e")]),
        (b'; a="x \\"y\\" \\\\"', [(b"a", b'x "y" \\')]),
        (b'; a="folded\r\n value"', [(b"a", b"folded value")]),
        (b'; a=""; b=', [(b"a", b""), (b"b", b"")]),
        (b"; a=two words; b=c", [(b"a", b"two words"), (b"b", b"c")]),
        (b"; a=two  words\r\n three", [(b"a", b"two  words three")]),
        (b"; a=b c=d", [(b"a", b"b"), (b"c", b"d")]),
        (b'; a="b" c=d', [(b"a", b"b"), (b"c", b"d")]),
        (b"; a=copy (2).txt", [(b"a", b"copy (2).txt")]),
        (b"; a=us-ascii (Plain text)", [(b"a", b"us-ascii")]),
        (b"; a=(comment)", [(b"a", b"")]),
        (b'; a="never ends; b=c', [(b"a", b"never ends; b=c")]),
        (b'; a=b"c', [(b"a", b'b"c')]),
        (b";;; flag; =x; a=b;", [(b"a", b"b")]),
        (b"; a*0=x; a*1=y", [(b"a", b"xy")]),
        (b"; a*1=y; b=c; a*0=x", [(b"a", b"xy"), (b"b", b"c")]),
        (b"; a*0*=utf-8''x%20; a*1=\"50% y\"", [(b"a*", b"utf-8''x%2050%25%20y")]),
        (b"; a*0=x; a*1*=%C3%A9", [(b"a*", b"''x%C3%A9")]),
        (b"; a*=utf-8'en'x; a=y", [(b"a*", b"utf-8'en'x"), (b"a", b"y")]),
        (b"; a*0=x; a*0=again; a*7=z", [(b"a", b"xz")]),
        (b"; a*1234=x; *=y; a**=z", [(b"a*1234", b"x"), (b"*", b"y"), (b"a**", b"z")]),
        (b"", []),
    ],
)  # fmt: skip
def test_parameters(value: bytes, pairs: Pairs) -> None:
    assert parse_parameters(value) == pairs


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([(b"n", b"plain")], "plain"),
        ([(b"n", b"=?utf-8?q?caf=C3=A9?=")], "café"),
        ([(b"n", "café".encode())], "café"),
        ([(b"n", b"fallback"), (b"n*", b"utf-8''caf%C3%A9")], "café"),
        ([(b"n*", b"iso-8859-1'fr'caf%E9")], "café"),
        ([(b"n*", b"''caf%C3%A9")], "café"),
        ([(b"n*", b"no quotes%21")], "no quotes!"),
        ([(b"n*", b"nonsense''%E9")], "é"),
        ([(b"n", b"first"), (b"n", b"second")], "first"),
        ([(b"m", b"x")], None),
    ],
)
def test_parameter_texts(pairs: Pairs, text: str | None) -> None:
    assert text_of(pairs, b"n") == text


def test_the_name_of_a_file() -> None:
    assert (
        describe(fields_of(b"Content-Disposition: attachment; filename=d\r\nContent-Type: a/b; name=t")).filename == "d"
    )
    assert describe(fields_of(b"Content-Disposition: attachment\r\nContent-Type: a/b; name=t")).filename == "t"
    assert len(describe(fields_of(b"Content-Type: a/b; name=" + b"x" * 1000)).filename) == 255


def test_the_tree_says_what_the_structure_says() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: TEXT/Plain; charset=UTF-8\r\nContent-Transfer-Encoding: BASE64\r\nContent-ID: <c@x>\r\n"
        b"Content-Disposition: INLINE; filename*=utf-8''%C3%A9\r\n\r\nw6k=\r\n--b--"
    )
    (part,) = load_parts(analyse(data).parts).children
    assert (part.type, part.subtype, part.charset, part.encoding) == ("text", "plain", "utf-8", "base64")
    assert (part.filename, part.disposition, part.content_id) == ("é", "inline", "c@x")
