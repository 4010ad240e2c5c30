"""Received and Return-Path (RFC 5321 section 4.4, RFC 3848)."""

import re
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.smtp.address import parse_path
from pillarbox.smtp.received import Trace, received, rfc5322_date, with_protocol

TRACE = Trace("client.example", "192.0.2.1", "mx.example.com", "ESMTPS", "4kQz7", 1763767200.5)


def test_a_field():
    assert received(TRACE) == (
        b"Received: from client.example ([192.0.2.1]) by mx.example.com with ESMTPS\r\n"
        b"\tid 4kQz7; Fri, 21 Nov 2025 23:20:00 +0000\r\n"
    )


def test_a_field_with_everything():
    trace = Trace("c.example", "2001:db8::1", "mx", "UTF8SMTPSA", "1", 0, host="h.example", tls="TLSv1.3 (x)")
    text = received(trace, parse_path('"a b"@d.example')).decode()
    assert " ".join(text.split()) == (
        "Received: from c.example (h.example [IPv6:2001:db8::1]) by mx with UTF8SMTPSA (TLSv1.3 ?x?) id 1 "
        'for <"a b"@d.example>; Thu, 01 Jan 1970 00:00:00 +0000'
    )


@pytest.mark.parametrize(
    ("helo", "address", "expected"),
    [
        ("[192.0.2.9]", "192.0.2.1", "from [192.0.2.9] ([192.0.2.1]) by"),
        ("my_pc", "192.0.2.1", "from [192.0.2.1] (HELO my_pc) by"),
        ("(evil)\\", "192.0.2.1", "from [192.0.2.1] (HELO ?evil??) by"),
        ("client.example", "", "from client.example by"),
        ("my_pc", "", "from localhost (HELO my_pc) by"),
    ],
)
def test_what_the_client_called_itself(helo, address, expected):
    text = received(Trace(helo, address, "mx", "SMTP", "1", 0)).decode()
    assert expected in " ".join(text.split())


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255))
def test_no_name_breaks_the_field(helo):
    field = received(Trace(helo, "192.0.2.1", "mx.example.com", "ESMTP", "1", 0))
    assert re.fullmatch(rb"Received: [^\r\n]+\r\n(\t[^\r\n]+\r\n)*", field)
    assert message_from_bytes(field)["Received"].endswith("+0000")
    assert field.count(b"(") == field.count(b")")


@given(st.integers(0, 4102444800))
def test_dates_are_read_back(epoch):
    assert parsedate_to_datetime(rfc5322_date(epoch)).timestamp() == epoch


def test_protocols():
    assert with_protocol(esmtp=False) == "SMTP"
    assert with_protocol(esmtp=True) == "ESMTP"
    assert with_protocol(esmtp=True, tls=True) == "ESMTPS"
    assert with_protocol(esmtp=True, auth=True) == "ESMTPA"
    assert with_protocol(esmtp=True, tls=True, auth=True) == "ESMTPSA"
    assert with_protocol(esmtp=True, tls=True, utf8=True) == "UTF8SMTPS"
    assert with_protocol(esmtp=True, lmtp=True) == "LMTP"
    assert with_protocol(esmtp=True, lmtp=True, tls=True, auth=True, utf8=True) == "UTF8LMTPSA"
