"""Transfer encodings undone in pieces are what they are in one."""

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.mime.transfer import decode_transfer
from pillarbox.session import imap_binary
from pillarbox.session.imap_binary import pieces_for


def in_pieces(raw, encoding, sizes):
    decoder = pieces_for(encoding)
    out, at = [], 0
    for size in sizes:
        out.append(decoder.feed(raw[at : at + size]))
        at += size
    out.append(decoder.feed(raw[at:]))
    out.append(decoder.finish())
    return b"".join(out)


SIZES = st.lists(st.integers(0, 40), max_size=20)
BASE64ISH = st.one_of(
    st.binary(max_size=200).map(base64.encodebytes),
    st.lists(st.binary(max_size=9).map(base64.b64encode), max_size=6).map(b"".join),
    st.text("AZ+/=\r\n -!", max_size=80).map(str.encode),
)
QUOTED = st.one_of(
    st.binary(max_size=200).map(quopri.encodestring),
    st.text("a=4Ff\r\n \t_", max_size=80).map(str.encode),
    st.binary(max_size=80),
)


@given(BASE64ISH, SIZES)
def test_base64(raw, sizes):
    assert in_pieces(raw, "base64", sizes) == decode_transfer(raw, "base64")


@given(QUOTED, SIZES)
def test_quoted_printable(raw, sizes):
    assert in_pieces(raw, "quoted-printable", sizes) == decode_transfer(raw, "quoted-printable")


@pytest.mark.parametrize("text", [b"x" * 400, b"ab=41 " * 60, b"=3D" * 130, b"a b\t" * 100 + b" "])
def test_an_endless_line_is_not_kept_whole(monkeypatch, text):
    monkeypatch.setattr(imap_binary, "_LONGEST_LINE", 50)
    decoder = pieces_for("quoted-printable")
    out = []
    for at in range(0, len(text), 7):
        out.append(decoder.feed(text[at : at + 7]))
        assert len(decoder._rest) < 70
    out.append(decoder.finish())
    assert b"".join(out) == decode_transfer(text, "quoted-printable")
