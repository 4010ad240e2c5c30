"""Contents decoded: transfer encodings, charsets, HTML, and the text for searching and previews."""

from __future__ import annotations

import base64
import binascii
import encodings
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.mime.analysis import analyse, load_parts
from pillarbox.mime.charset import codec_of, decode
from pillarbox.mime.html import html_text
from pillarbox.mime.text import search_text
from pillarbox.mime.transfer import decode_transfer


@given(st.binary(max_size=400))
def test_what_was_encoded_comes_back(data: bytes) -> None:
    assert decode_transfer(base64.encodebytes(data).replace(b"\n", b"\r\n"), "base64") == data
    assert decode_transfer(binascii.b2a_qp(data, istext=False), "quoted-printable") == data
    for encoding in ("", "7bit", "8BIT", "binary"):
        assert decode_transfer(data, encoding) == data


@given(st.binary(max_size=200))
def test_decoding_never_raises(data: bytes) -> None:
    assert decode_transfer(data, "base64") is not None
    assert decode_transfer(data, "quoted-printable") is not None
    assert decode_transfer(data, "x-uuencode") is None


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b"aGVsbG8", b"hello"),
        (b"aGVs*bG8=\r\n!", b"hello"),
        (b"YQ==\r\nYg==", b"ab"),
        (b"YQ==YmM=ZGVm", b"abcdef"),
        (b"QUJDR", b"ABC"),
        (b"====", b""),
        (b"=", b""),
        (b"", b""),
    ],
)
def test_broken_base64(raw: bytes, content: bytes) -> None:
    assert decode_transfer(raw, "base64") == content


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b"a=3Db=20", b"a=b "),
        (b"soft=\r\nly", b"softly"),
        (b"soft= \t\r\nly", b"softly"),
        (b"trailing  \r\nspace \t", b"trailing\r\nspace"),
        (b"=zz =4 =c3=A9", b"=zz =4 \xc3\xa9"),
        (b"end=", b"end"),
        (b"_", b"_"),
    ],
)
def test_broken_quoted_printable(raw: bytes, content: bytes) -> None:
    assert decode_transfer(raw, "Quoted-Printable") == content


def test_a_valid_text_is_what_quopri_makes_of_it() -> None:
    text = "Dlouhá řádka, která je delší než sedmdesát šest znaků, protože se opakuje. ".encode() * 3
    assert decode_transfer(quopri.encodestring(text), "quoted-printable") == text


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (b"abc", "us-ascii", "abc"),
        ("é".encode(), "us-ascii", "é"),
        (b"\xe9", "us-ascii", "é"),
        (b"\xe9", "", "é"),
        (b"\x80", "iso-8859-1", "€"),
        (b"\xe9", "UTF-8", "\ufffd"),
        (b"\x93x\x94", "no-such-charset", "“x”"),
        ("Привет".encode("koi8-r"), "KOI8-R", "Привет"),
        ("日本".encode("iso2022_jp"), "iso-2022-jp", "日本"),
        ("日本".encode("cp932"), "Shift_JIS", "日本"),
        ("镕".encode("gb18030"), "GB2312", "镕"),
        ("한국".encode("cp949"), "ks_c_5601-1987", "한국"),
        ("ไทย".encode("cp874"), "tis-620", "ไทย"),
        ("x".encode("utf-16"), "utf-16", "x"),
        (b"Hi +Jjo-", "utf-7", "Hi \u263a"),
        (b"+2AA-", "utf-7", "\ufffd"),
        (b"x", "a" * 1000, "x"),
    ],
)
def test_charsets(data: bytes, charset: str, text: str) -> None:
    assert decode(data, charset) == text


@pytest.mark.parametrize("name", ["base64", "hex", "rot13", "zip", "idna", "punycode", "unicode_escape", "undefined"])
def test_codecs_that_are_no_charsets_are_not_used(name: str) -> None:
    assert codec_of(name) is None
    assert decode(b"\\u0041\xe9", name) == "\\u0041é"


def test_unknown_names_do_not_fill_pythons_codec_cache() -> None:
    decode(b"\xff", "utf-8")
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for i in range(100):
        decode(b"\xff", f"no-such-charset-{i}")
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


@given(
    st.binary(max_size=100),
    st.sampled_from(["utf-7", "utf-16", "utf-32", "hz", "iso-2022-kr", "big5", "johab", "gb2312"]),
)
def test_decoded_text_can_always_be_encoded(data: bytes, charset: str) -> None:
    text = decode(data, charset)
    assert text.encode("utf-8").decode("utf-8") == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("wo<b>r</b>d<br>next<BR/>line", "word\nnext\nline"),
        ("a &amp; b&nbsp;&euro; &lt;c&gt; &#8364; &#x20AC;", "a & b € <c> € €"),
        ("<style>p {}</style>x<script>if (a < b) {}</script>y", "xy"),
        ("<!-- <p>hidden</p> -->shown", "shown"),
        ("<head><title>t</title></head>body", "body"),
        ("<head><title>t</title>body", "body"),
        ("<header>kept</header>", "kept"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<p", ""),
        ("x<!-- never ends <p>y", "x"),
        ("x<script>never ends", "x"),
        ("&#99999999999999999999;x&#xFFFFFFFFFF;", "x"),
        ("&notanentity; &", "¬anentity; &"),
        ("<SCRIPT>x</ScRiPt >y", "y"),
        ("İ<script>x</script>y", "İy"),
        ("<![CDATA[x]]>", ""),
        ("", ""),
    ],
)
def test_html(source: str, text: str) -> None:
    assert html_text(source) == text


def searched(data: bytes, **options: bool) -> str:
    return search_text(lambda start, end: data[start:end], load_parts(analyse(data).parts), **options)


MIXED = (
    b"Subject: =?utf-8?q?=C3=9Cber?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>World</b>\r\n"
    b"--b\r\nContent-Type: application/pdf; name=paper.pdf\r\n\r\n%PDF\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: within\r\n\r\ninner\r\n--b--\r\n"
)


def test_the_text_of_a_message() -> None:
    assert searched(MIXED) == "Hello\nWorld\npaper.pdf\nSubject: within\ninner"


def test_the_text_with_the_header() -> None:
    assert searched(MIXED, headers=True).startswith("Subject: Über\nContent-Type: multipart/mixed; boundary=b\nHello\n")


@pytest.mark.parametrize(
    ("header", "content", "preview"),
    [
        (b"", b"  some \r\n\r\n text  ", "some text"),
        (b"Content-Type: text/html", b"<p>some</p> <i>text</i>", "some text"),
        (b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64", base64.b64encode(b"<p>some</p>"), "some"),
        (b"Content-Type: image/png", b"some", ""),
        (b"Content-Type: text/plain\r\nContent-Disposition: attachment", b"some", ""),
        (b"Content-Type: text/plain; charset=utf-8", "é".encode() * 300, "é" * 256),
        (b"Content-Type: text/calendar", b"some", ""),
        (b"X: y", b"a\0b", "ab"),
    ],
)
def test_previews(header: bytes, content: bytes, preview: str) -> None:
    assert analyse(header + b"\r\n\r\n" + content).preview == preview


def test_html_is_the_preview_when_the_plain_text_says_nothing() -> None:
    start = b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
    end = b"\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b--"
    assert analyse(start + b" \r\n" + end).preview == "html"
    assert analyse(start + b"plain" + end).preview == "plain"


def test_a_preview_does_not_end_in_half_a_character() -> None:
    assert analyse(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "中".encode() * 20_000).preview == "中" * 256
