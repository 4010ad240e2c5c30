"""ENVELOPE: the NIL rules, groups, quoting, and what of the sender's octets a client is sent."""

from __future__ import annotations

import pytest

from pillarbox.mime.address import MAX_ADDRESSES, Address, parse_addresses
from pillarbox.mime.envelope import render_address, render_envelope
from pillarbox.mime.header import fields_of
from pillarbox.mime.render import nstring, parameters, string

A: Address = (None, None, b"a", b"x.org")
B: Address = (None, None, b"b", b"x.org")
END: Address = (None, None, None, None)


def envelope(header: bytes) -> bytes:
    return render_envelope(fields_of(header))


def test_the_example_of_rfc_9051() -> None:
    header = b"""Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)
From: Terry Gray <gray@cac.washington.edu>
Subject: IMAP4rev2 WG mtg summary and minutes
To: imap@cac.washington.edu
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>
Message-Id: <B27397-0100000@cac.washington.edu>
"""
    gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
    assert envelope(header) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" '
        + b" ".join([gray] * 3)
        + b" "
        b'((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )


def test_absent_texts_are_nil_and_empty_ones_are_empty() -> None:
    assert envelope(b"") == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
    header = b"Date:\r\nSubject: \r\nIn-Reply-To:\r\nMessage-ID: \t\r\n"
    assert envelope(header) == b'("" "" NIL NIL NIL NIL NIL NIL "" "")'


def test_empty_address_fields_are_nil() -> None:
    assert envelope(b"From:\r\nTo: \r\nCc: ,\r\nBcc: (nobody)\r\n") == envelope(b"")


def test_sender_and_reply_to_default_to_from_when_absent_or_empty() -> None:
    one = b'((NIL NIL "a" "x.org"))'
    assert envelope(b"From: a@x.org\r\nReply-To:\r\n") == b"(NIL NIL %b %b %b NIL NIL NIL NIL NIL)" % (one, one, one)
    other = b'((NIL NIL "b" "x.org"))'
    header = b"From: a@x.org\r\nSender: b@x.org\r\nReply-To: b@x.org\r\n"
    assert envelope(header) == b"(NIL NIL %b %b %b NIL NIL NIL NIL NIL)" % (one, other, other)
    assert envelope(b"Sender: b@x.org\r\n") == b"(NIL NIL NIL %b NIL NIL NIL NIL NIL NIL)" % other


def test_values_are_unfolded_and_otherwise_as_sent() -> None:
    header = b"Subject: =?utf-8?q?caf=C3=A9?=\r\n  =?utf-8?q?s?=\r\n\tend \r\n"
    assert envelope(header).split(b" ", 1)[1].startswith(b'"=?utf-8?q?caf=C3=A9?=  =?utf-8?q?s?=\tend" ')


def test_the_first_field_counts_but_recipients_are_added_up() -> None:
    header = b"To: a@x.org\r\nSubject: one\r\nTo: b@x.org\r\nSubject: two\r\nFrom: a@x.org\r\nFrom: b@x.org\r\n"
    assert envelope(header) == (
        b'(NIL "one" ((NIL NIL "a" "x.org")) ((NIL NIL "a" "x.org")) ((NIL NIL "a" "x.org")) '
        b'((NIL NIL "a" "x.org")(NIL NIL "b" "x.org")) NIL NIL NIL NIL)'
    )


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        (b"", b'""'),
        (b"plain", b'"plain"'),
        (b'say "hi" \\ bye', b'"say \\"hi\\" \\\\ bye"'),
        (b"tab\tand \x01 \x7f", b'"tab\tand \x01 \x7f"'),
        ("é".encode(), b"{2}\r\n\xc3\xa9"),
        (b"\xe9", b"{1}\r\n\xe9"),
        (b"a\rb", b"{3}\r\na\rb"),
        (b"a\nb", b"{3}\r\na\nb"),
        (b"a\0b", b'"ab"'),
        (b'"\0', b'"\\""'),
        (b"\0\xe9", b"{1}\r\n\xe9"),
    ],
)
def test_strings_are_quoted_or_literal(value: bytes, rendered: bytes) -> None:
    assert string(value) == rendered
    assert nstring(value) == rendered


def test_nil_and_parameters() -> None:
    assert nstring(None) == b"NIL"
    assert parameters([]) == b"NIL"
    assert parameters([(b"name", b"a b"), (b"x", "ž".encode())]) == b'("NAME" "a b" "X" {2}\r\n\xc5\xbe)'
    assert render_address((b"N", b"@r", b"m", b"h")) == b'("N" "@r" "m" "h")'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b" a@x.org\r\n", [A]),
        (b"a@x.org, b@x.org", [A, B]),
        (b"<a@x.org>", [A]),
        (b"Ada <a@x.org>", [(b"Ada", None, b"a", b"x.org")]),
        (b'"Byron, Ada" <a@x.org>', [(b"Byron, Ada", None, b"a", b"x.org")]),
        (b'"A \\"B\\" \\\\" <a@x.org>', [(b'A "B" \\', None, b"a", b"x.org")]),
        (b'"folded\r\n name" <a@x.org>', [(b"folded name", None, b"a", b"x.org")]),
        (b"Dr.  Ada\t Byron <a@x.org>", [(b"Dr. Ada Byron", None, b"a", b"x.org")]),
        (b'Ada "the \xe9" Byron <a@x.org>', [(b"Ada the \xe9 Byron", None, b"a", b"x.org")]),
        (b"a@x.org (Ada)", [(b"Ada", None, b"a", b"x.org")]),
        (b"a@x.org (Ada (Countess) of \\) L)", [(b"Ada (Countess) of ) L", None, b"a", b"x.org")]),
        (b"(c) Ada (d) <a@x.org> (e)", [(b"Ada", None, b"a", b"x.org")]),
        (b"a (c) @ (d) x . (e) org", [(b"e", None, b"a", b"x.org")]),
        (b'"quoted local"@x.org', [(None, None, b"quoted local", b"x.org")]),
        (b'<"a\\@b"@x.org>', [(None, None, b"a@b", b"x.org")]),
        (b'"@"@x.org', [(None, None, b"@", b"x.org")]),
        (b"a@[192.0.2.1]", [(None, None, b"a", b"[192.0.2.1]")]),
        (b"<a@[IPv6:2001:db8::1]>", [(None, None, b"a", b"[IPv6:2001:db8::1]")]),
        (b"R <@r.org,@s.org:a@x.org>", [(b"R", b"@r.org,@s.org", b"a", b"x.org")]),
        (b"nobody", [(None, None, b"nobody", b"")]),
        (b"two words", [(None, None, b"two words", b"")]),
        (b"<nobody>", [(None, None, b"nobody", b"")]),
        (b"<>", [(None, None, b"", b"")]),
        (b"Ada a@x.org", [(b"Ada", None, b"a", b"x.org")]),
        (b"a@x.org <a@x.org>", [(b"a@x.org", None, b"a", b"x.org")]),
        (b"<a@x.org> Ada", [(b"Ada", None, b"a", b"x.org")]),
        (b"<a@x.org, b@x.org", [A, B]),
        (b"<a@x.org <b@x.org>", [A, B]),
        (b"<a@x.org> <b@x.org>", [A, B]),  # either may be taken for the address: both are told
        (b"Ada <a@x.org> Bob <b@x.org>", [(b"Ada", None, b"a", b"x.org"), (b"Bob", None, b"b", b"x.org")]),
        (b"<a@x.org b@x.org>", [(None, None, b"a@x.orgb", b"x.org")]),
        (b"a@x.org; b@x.org", [A, B]),
        (b"a@x.org,,, ,b@x.org,", [A, B]),
        (b"a@b@x.org", [(None, None, b"a@b", b"x.org")]),
        (b"a@x.org b@x.org", [(b"a@x.org", None, b"b", b"x.org")]),
        (b"team: a@x.org, Ada <b@x.org>;", [(None, None, b"team", None), A, (b"Ada", None, b"b", b"x.org"), END]),
        (b"nobody here:;", [(None, None, b"nobody here", None), END]),
        (b"team: a@x.org; b@x.org", [(None, None, b"team", None), A, END, B]),
        (b"team: a@x.org", [(None, None, b"team", None), A, END]),
        (b":;", [(None, None, b"", None), END]),
        (b'"unterminated <a@x.org>, b@x.org', [(b"unterminated", None, b"a", b"x.org"), B]),
        (b"=?utf-8?q?=C3=A9?= =?utf-8?q?B?= <a@x.org>", [(b"=?utf-8?q?=C3=A9?= =?utf-8?q?B?=", None, b"a", b"x.org")]),
        (b"(unterminated a@x.org", []),
        (b"", []),
        (b" , ;", []),
    ],
)  # fmt: skip
def test_addresses(value: bytes, expected: list[Address]) -> None:
    assert parse_addresses(value) == expected


def test_a_list_is_read_to_its_cap_and_the_rendering_stays_well_formed() -> None:
    many = b",".join([b"a%d@x.org" % i for i in range(MAX_ADDRESSES + 500)])
    assert len(parse_addresses(many)) == MAX_ADDRESSES
    assert len(parse_addresses(b"team: " + many + b";")) == MAX_ADDRESSES
    assert parse_addresses(many, 3) == [(None, None, b"a%d" % i, b"x.org") for i in range(3)]
