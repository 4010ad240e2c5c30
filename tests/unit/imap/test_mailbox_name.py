"""Modified UTF-7 is reversible and has one form a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.mailbox_name import BadName, decode, encode

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]))


@given(NAMES)
def test_every_name_comes_back(name):
    wire = encode(name)
    assert wire.isascii()
    assert decode(wire) == decode(encode(name, True), True)
    if name.upper()[:5] != "INBOX":
        assert decode(wire) == name


@given(st.binary(max_size=30) | st.text("&AbZ+,-09", max_size=20).map(str.encode))
def test_one_wire_form_a_name(raw):
    try:
        name = decode(raw)
    except BadName:
        return
    if name[:5] != "INBOX":
        assert encode(name) == raw


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),  # RFC 3501 section 5.1.3
        (b"A&-B", "A&B"),
        (b"&2D3eAA-", "\U0001f600"),
        (b"inbox", "INBOX"),
        (b"Inbox/Old", "INBOX/Old"),
        (b"inboxes", "inboxes"),
    ],
)
def test_names(wire, name):
    assert decode(wire) == name


@pytest.mark.parametrize(
    "wire",
    [
        b"&Jjo!",  # RFC 3501 section 5.1.3: not closed
        b"&U,BTFw-&ZeVnLIqe-",  # superfluous shift
        b"&AGE-",  # ASCII needs no shift
        b"A&B",
        b"&2D0-",  # half a surrogate pair
        b"&A-",
        "ü".encode(),
        b"a\tb",
        b"&AAo-",  # a line feed
    ],
)
def test_no_names(wire):
    with pytest.raises(BadName):
        decode(wire)


def test_no_utf8_and_control_characters_in_utf8():
    with pytest.raises(BadName, match="UTF-8"):
        decode(b"\xff", True)
    with pytest.raises(BadName, match="control"):
        decode(b"a\x00b", True)
