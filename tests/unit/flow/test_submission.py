"""Mending headers: what is added, what is taken out, who it is from, and that no split makes a difference."""

import email
import email.policy
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pillarbox.flow import submission
from pillarbox.flow.submission import HEADER_LIMIT, Fault, Mender
from pillarbox.mime.analysis import analyse, outline

ADDED = b"Date: Fri, 21 Nov 2025 23:20:00 +0000\r\nMessage-ID: <1ABC@mx.example.com>\r\n"
FROM = b"From: ada@example.com\r\n"
WHOLE = b"From: Ada <ada@example.com>\r\nDate: Fri, 1 Jan 2021 00:00:00 +0000\r\nMessage-ID: <x@y>\r\n"


def mender(*, strict=True):
    return Mender("ada@example.com", "1ABC", "mx.example.com", 1763767200.5, strict=strict)


def mended(message, cuts=(), *, strict=True):
    """(octets, fault, authors) of a message that comes in pieces."""
    mending = mender(strict=strict)
    at, out = 0, b""
    for cut in [*sorted(cuts), len(message)]:
        out += mending.feed(message[at:cut])
        at = cut
    out += mending.finish()
    return out, mending.fault, [author.address for author in mending.authors]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (WHOLE + b"\r\nbody\r\n", WHOLE + b"\r\nbody\r\n"),
        (b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\r\n" + FROM + ADDED + b"\r\nbody\r\n"),
        (b"from: ada@example.com\r\n\r\n", b"from: ada@example.com\r\n" + ADDED + b"\r\n"),
        (b"From : ada@example.com\r\n\r\n", b"From : ada@example.com\r\n" + ADDED + b"\r\n"),
        # without a header section
        (b"\r\nbody\r\n", FROM + ADDED + b"\r\nbody\r\n"),
        (b"\r\njust text\r\nBcc: no\r\n", FROM + ADDED + b"\r\njust text\r\nBcc: no\r\n"),
        (b"", FROM + ADDED + b"\r\n"),
        # without a body
        (b"Subject: x\r\n", b"Subject: x\r\n" + FROM + ADDED),
        (b"Subject: x", b"Subject: x\r\n" + FROM + ADDED),
        (b"Subject: x\r\n\r\n", b"Subject: x\r\n" + FROM + ADDED + b"\r\n"),
        # the line of an mbox
        (b"From ada Mon\r\nTo: x\r\n\r\n", b"X-Mailbox-Line: From ada Mon\r\nTo: x\r\n" + FROM + ADDED + b"\r\n"),
        (b">From ", b"X-Mailbox-Line: >From \r\n" + FROM + ADDED),
    ],
)
def test_what_is_missing_is_added_at_the_end_of_the_header(message, expected):
    out, fault, _ = mended(message)
    assert (out, fault) == (expected, None)
    _outlined(message)


def _outlined(message):
    """What is known of a mended message that nobody looks into is what looking would have found."""
    mending = mender()
    out = mending.feed(message) + mending.finish()
    if mending.fault is None:
        short, whole = outline(out, mending.message_id), analyse(out)
        assert (short.size, short.header_size, short.message_id) == (whole.size, whole.header_size, whole.message_id)
        assert short.is_outline and not whole.is_outline


@pytest.mark.parametrize(
    "field",
    [b"Message-ID: <a@b>", b"message-id :\r\n <a@b>", b"Message-ID: a@b", b"Message-ID:", b"Message-Id: <a\r\n @b> x"],
)
def test_what_is_known_of_a_message_that_nobody_looks_into(field):
    _outlined(field + b"\r\nSubject: x\r\nMessage-ID: <second@b>\r\n\r\nbody\r\n\r\nMessage-ID: <body@x>\r\n")
    _outlined(b"Subject: x\r\n" + field + b"\r\n\r\n")
    _outlined(b"Bcc: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n" + field + b"\r\n\r\n--x\r\n\r\nx")


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (b"Bcc: bob@example.org\r\n", b""),
        (b"To: a@b\r\nbCC: bob@example.org,\r\n\tcarol@example.org,\r\n d@e\r\nCc: c@d\r\n", b"To: a@b\r\nCc: c@d\r\n"),
        (b"Resent-Bcc: bob@example.org\r\nX-Bcc: kept\r\nBcc:\r\n", b"X-Bcc: kept\r\n"),
        (b"Bcc : bob@example.org\r\n", b""),
        (b"Subject: a\r\n Bcc: not a field\r\n", b"Subject: a\r\n Bcc: not a field\r\n"),
    ],
)  # fmt: skip
def test_blind_copies_are_taken_out_wherever_they_stand(fields, left):
    for message, expected in ((fields + WHOLE, left + WHOLE), (WHOLE + fields, WHOLE + left)):
        assert mended(message + b"\r\nBcc: body\r\n") == (expected + b"\r\nBcc: body\r\n", None, ["ada@example.com"])


def test_folding_order_and_spelling_stay():
    odd = (
        b'FROM:  "Ada,\r\n\tL."  <ada@example.com>\r\nX:\r\n \t\r\nmime-version:1.0\r\n' + WHOLE[WHOLE.index(b"Date") :]
    )
    assert mended(odd + b"\r\n\r\n..\r\n") == (odd + b"\r\n\r\n..\r\n", None, ["ada@example.com"])


@pytest.mark.parametrize(
    ("value", "authors"),
    [
        (b"ada@example.com", ["ada@example.com"]),
        (b"ada@example.com (Ada)", ["ada@example.com"]),
        (b'"eve@evil.example" <ada@example.com>', ["ada@example.com"]),
        (b"Ada <ada@example.com>,\r\n Bob <bob@example.org>", ["ada@example.com", "bob@example.org"]),
        (b"Team: ada@example.com, bob@example.org;", ["ada@example.com", "bob@example.org"]),
        (b'"a b"@example.com', ['"a b"@example.com']),
        ("Ä <ä@exämple.com>".encode(), ["ä@exämple.com"]),
        (b"ada@[192.0.2.1]", ["ada@[192.0.2.1]"]),
        (b'"<eve@evil.example>" <ada@example.com>', ["ada@example.com"]),
        (b"(eve@evil.example) ada . b @\r\n example.com", ["ada.b@example.com"]),
        (b"Ada L. <@relay.example,@x:ada@example.com>", ["ada@example.com"]),
    ],
)
def test_authors(value, authors):
    assert mended(b"From: " + value + b"\r\n\r\n")[1:] == (None, authors)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"From: \r\n", Fault.BAD_FROM),
        (b"From: ada\r\n", Fault.BAD_FROM),
        (b"From: Undisclosed:;\r\n", Fault.BAD_FROM),
        (b"From: ada@example.com, bob@\r\n", Fault.BAD_FROM),
        # what some readers take for another address
        (b"From: [<boss@x.example>] <ada@example.com>\r\n", Fault.BAD_FROM),
        (b"From: boss@x.example <ada@example.com>\r\n", Fault.BAD_FROM),
        (b"From: <boss@x.example> <ada@example.com>\r\n", Fault.BAD_FROM),
        (b"From: Boss <boss@x.example> Ada <ada@example.com>\r\n", Fault.BAD_FROM),
        (b"From: <boss@x.example ada@example.com>\r\n", Fault.BAD_FROM),
        (b'From: "boss@x.example <ada@example.com>\r\n', Fault.BAD_FROM),
        (b"From: (<boss@x.example> <ada@example.com>\r\n", Fault.BAD_FROM),
        (b"From: <ada@example.com> boss@x.example\r\n", Fault.BAD_FROM),
        (b"From: ada@example.com\r\nSender: [<boss@x.example>] <ada@example.com>\r\n", Fault.BAD_SENDER),
        (b"From: \xff@example.com\r\n", Fault.BAD_FROM),
        (b"From: " + b"a@b.example, " * 51 + b"c@d.example\r\n", Fault.BAD_FROM),
        (b"From: " + b"a:;, " * 60 + b"hidden@d.example\r\n", Fault.BAD_FROM),
        (b"From: ada@example.com\r\nfrom: eve@evil.example\r\n", Fault.MANY_FROM),
        (b"From: ada@example.com\r\nSender: a@b.example, c@d.example\r\n", Fault.BAD_SENDER),
        (b"From: ada@example.com\r\nSender: a@b.example\r\nSender: c@d.example\r\n", Fault.BAD_SENDER),
        (b"Subject: a\nFrom: eve@evil.example\r\n", Fault.BAD_HEADER),
        (b"Subject: a\rb\r\n", Fault.BAD_HEADER),
        (b"Subject: a\r\nno field\r\nFrom: eve@evil.example\r\n", Fault.NO_FIELD),
        (b"Subject: a\r\n\x01\r\n", Fault.NO_FIELD),
        (b" odd\r\nSubject: x\r\n", Fault.NO_FIELD),
        (b"From x\r\nFrom x\r\n", Fault.NO_FIELD),
        (b"Subject: a\0b\r\n", Fault.BAD_HEADER),
        (b"X: " + b"x" * HEADER_LIMIT + b"\r\n", Fault.HEADER_TOO_LARGE),
        (b"X: y\r\n" * (HEADER_LIMIT // 6 + 1), Fault.HEADER_TOO_LARGE),
        (b"X: y\n" * (HEADER_LIMIT // 5 + 1), Fault.BAD_HEADER),
    ],
)
def test_faults(header, fault):
    for body in (b"\r\nbody\r\n", b""):
        assert mended(header + body)[:2] == (b"", fault)
        half = len(header) // 2
        assert mended(header + body, range(0, len(header), max(1, half)))[:2] == (b"", fault)


@pytest.mark.parametrize("first", [b"just text", b"x", b"x" * 5000, b"Subject x", b":", b"\xc3\xa4: b", b"\x01"])
def test_a_first_line_that_is_no_field_is_no_body_with_a_bcc_in_it(first):
    for rest in (b"\r\nBcc: bob@example.org\r\n\r\nbody\r\n", b"\r\n\r\nbody\r\n", b""):
        assert mended(first + rest) == (b"", Fault.NO_HEADER, [])
        assert mended(first + rest, range(len(first + rest))) == (b"", Fault.NO_HEADER, [])


def test_sender_is_an_author_too():
    out = mended(b"Sender: bob@example.org\r\nFrom: ada@example.com\r\n\r\n")
    assert out[2] == ["bob@example.org", "ada@example.com"]


def test_the_body_is_not_held():
    mending = mender()
    assert mending.feed(b"Subject: x\r\n") == b""
    assert mending.held == 12
    assert mending.feed(b"\r\nbody").endswith(b"\r\n\r\nbody")
    assert mending.held == 0
    assert mending.feed(b"more") == b"more"
    assert mending.finish() == b""


LINES = [
    b"Subject: x", b"From: ada@example.com", b"from: b", b"Bcc: c@d.example", b" folded", b"\tDate: x", b"Date: y",
    b"Sender: e@f.example", b"Message-ID: <z>", b"", b"text", b"From x", b"resent-bcc:", b"\r", b"\n",
    b"From: a@b.example, c@d.example", b"X" * 700,
]  # fmt: skip


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sets(st.integers(0, 400), max_size=8), st.booleans())
def test_no_split_makes_a_difference(lines, cuts, ended):
    message = b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    whole = mended(message)
    assert mended(message, [cut for cut in cuts if cut < len(message)]) == whole
    assert mended(message, range(len(message))) == whole


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"Subject: x\r\nBcc: a@b.c\r\n\r\nbody\r\n", b"Subject: x\r\n" + FROM + ADDED + b"\r\nbody\r\n"),
        (b"From: root (Cron Daemon)\r\n\r\nx", b"From: root (Cron Daemon)\r\n" + ADDED + b"\r\nx"),
        (b"From: a\r\nSender: b, c\r\nFrom: d\r\n", b"From: a\r\nSender: b, c\r\nFrom: d\r\n" + ADDED),
        (b"just text\r\n", FROM + ADDED + b"\r\njust text\r\n"),
        (b" folded\r\nX: y\r\n\r\nx", FROM + ADDED + b"\r\n folded\r\nX: y\r\n\r\nx"),
        (b"X: y\r\nno field\r\nZ: a\r\n\r\nx", b"X: y\r\n" + FROM + ADDED + b"\r\nno field\r\nZ: a\r\n\r\nx"),
        (b"X: a\nb\r\n\r\nx", b"X: a\nb\r\n\r\nx"),
        (b"X: " + b"x" * HEADER_LIMIT + b"\r\n\r\nx", b"X: " + b"x" * HEADER_LIMIT + b"\r\n\r\nx"),
    ],
)
def test_what_a_program_of_this_machine_writes_is_mended_or_left_but_not_refused(message, expected):
    assert mended(message, strict=False)[:2] == (expected, None)
    assert mended(message, range(1, len(message), max(1, len(message) // 60)), strict=False)[0] == expected


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sets(st.integers(0, 400), max_size=8), st.booleans())
def test_no_split_makes_a_difference_where_nothing_is_refused(lines, cuts, ended):
    message = b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    whole = mended(message, strict=False)
    assert whole[1] is None and (whole[0] in (message, message + b"\r\n") or b"\r\nMessage-ID:" in b"\r\n" + whole[0])
    assert mended(message, [cut for cut in cuts if cut < len(message)], strict=False) == whole
    assert mended(message, range(len(message)), strict=False) == whole


@given(st.binary(max_size=60))
def test_any_octets_end_in_a_message_or_a_fault(message):
    assume(not re.search(rb"[ \t]:", message))  # obsolete syntax that Python does not read
    out, fault, authors = mended(message)
    assert (out == b"") == (fault is not None)
    if fault is None:
        assert out.endswith(message.partition(b"\r\n\r\n")[2])
        read = email.message_from_bytes(out, policy=email.policy.compat32)
        assert all(read[name] is not None for name in ("Message-ID", "Date", "From"))
        assert read["Bcc"] is None
    assert mended(message, range(len(message))) == (out, fault, authors)


@given(st.integers(-6, 6), st.integers(1, 5))
def test_the_bound_is_the_same_in_any_split(over, step):
    header = b"X: " + b"y" * (200 + over - 5) + b"\r\n"
    message = header + b"\r\nbody"
    limit, submission.HEADER_LIMIT = submission.HEADER_LIMIT, 200
    try:
        whole = mended(message)
        assert whole[1] is (Fault.HEADER_TOO_LARGE if over > 0 else None)
        assert mended(message, range(0, len(message), step)) == whole
        assert mended(header, range(0, len(header), step)) == mended(header)
    finally:
        submission.HEADER_LIMIT = limit
