"""Envelope addresses: RFC 5321 section 4.1.2, RFC 6531 section 3.3, and the 164 cases of is_email."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.smtp.address import NULL, AddressError, Path, domain_key, parse_domain, parse_path, quoted_local


@pytest.mark.parametrize(
    ("written", "local", "domain"),
    [
        ("ada@example.com", "ada", "example.com"),
        ("Ada.Lovelace+x@EXAMPLE.Com", "Ada.Lovelace+x", "example.com"),
        ("a@b", "a", "b"),
        ("!#$%&'*+-/=?^_`{|}~@x.y", "!#$%&'*+-/=?^_`{|}~", "x.y"),
        ('"ada"@example.com', "ada", "example.com"),
        ('"a b"@example.com', "a b", "example.com"),
        ('"a\\"b\\\\c\\d"@example.com', 'a"b\\cd', "example.com"),
        ('"a@b"@example.com', "a@b", "example.com"),
        ('""@example.com', "", "example.com"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[001.002.3.4]", "a", "[1.2.3.4]"),
        ("a@[IPv6:2001:db8:0:0:0:0:0:1]", "a", "[ipv6:2001:db8::1]"),
        ("a@[ipv6:::ffff:192.0.2.1]", "a", "[ipv6:::ffff:192.0.2.1]"),
        ("@one.example,@two.example:a@b.example", "a", "b.example"),
        ("@[192.0.2.1]:a@b.example", "a", "b.example"),
        ("jürgen@bücher.example", "jürgen", "bücher.example"),
        ("ju\u0308rgen@BU\u0308CHER.example", "jürgen", "bücher.example"),
        ('"é è"@例子.example', "é è", "例子.example"),
        (f"{'l' * 64}@example.com", "l" * 64, "example.com"),
        (f"a@{'d' * 63}.example", "a", f"{'d' * 63}.example"),
    ],
)
def test_valid_ones(written, local, domain):
    path = parse_path(written)
    assert (path.local, path.domain, path.raw) == (local, domain, written)


@pytest.mark.parametrize(
    "written",
    [
        "a",
        "@",
        "a@",
        "@b",
        "a@b@c",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a b@c",
        "a@b c",
        "a@.b",
        "a@b.",
        "a@b..c",
        "a@-b.c",
        "a@b-.c",
        "a@b_c.d",
        "a@[1.2.3]",
        "a@[1.2.3.256]",
        "a@[1.2.3.4",
        "a@1.2.3.4]",
        "a@[IPv6:1::2::3]",
        "a@[IPv6:fe80::1%eth0]",
        "a@[2001:db8::1]",
        "a@[tag:data]",
        "a@[]",
        '"a@b',
        '"a"b@c',
        'a"b"@c',
        '"a\tb"@c',
        '"a\\\x01"@c',
        "a(comment)@b",
        "a@b(comment)",
        " a@b",
        "a@b ",
        "a\x00@b",
        "a@b\x7f",
        "@one,two:a@b",
        "@one:",
        "@one_:a@b",
        f"{'l' * 65}@example.com",
        f"a@{'d' * 64}.example",
        f"a@{'.'.join(['d' * 60] * 5)}",
        "é\u2028@b.example",
        "é\x85@b.example",
        "a@bü-.example",
        "a@b\u2024c.example",
        "a@☃.example",
        f"a@{'ü' * 60}.example",
    ],
)
def test_invalid_ones(written):
    with pytest.raises(AddressError):
        parse_path(written)


def test_the_null_path():
    assert NULL.is_null
    assert NULL.address == ""
    assert not parse_path('""@example.com').is_null


def test_an_address_is_quoted_only_where_it_must_be():
    assert parse_path('"ada"@example.com').address == "ada@example.com"
    assert parse_path('"a b\\""@Example.com').address == '"a b\\""@example.com'
    assert parse_path('""@example.com').address == '""@example.com'
    assert Path("Postmaster", "", "Postmaster").address == "Postmaster"


def test_literals_are_told_from_names():
    assert parse_path("a@[192.0.2.1]").is_literal
    assert not parse_path("a@b").is_literal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "XN--BCHER-KVA.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例子.example", "xn--fsqu00a.example"),
    ],
)
def test_domains_that_are_the_same(one, other):
    assert domain_key(one) == domain_key(other)


@given(st.text(max_size=40))
def test_keys_are_ascii_and_lower_case_whatever_the_text(text):
    key = domain_key(text)
    assert key.isascii()
    assert key == key.lower()


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text):
    try:
        path = parse_path(text)
    except AddressError:
        return
    assert path.raw == text
    assert parse_domain(path.domain) == path.domain
    assert path.domain_key.isascii()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_a_local_part_survives_quoting(local):
    assert parse_path(f"{quoted_local(local)}@example.com", max_local=100).local == local


# What is_email says that we see otherwise, by the number of the test.
DIFFERENT = {
    # "::" for a single group: the grammar of RFC 5321 section 4.1.3 wants two, RFC 4291 section 2.2 takes one, and the
    # address is not ambiguous.
    "71": True,
}
VALID = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}
# Invalid in an envelope: comments and folding (CFWS), obsolete forms (DEPREC), what RFC 5322 takes and RFC 5321 does
# not (a length, a literal of unknown kind, characters in the domain), and plain errors (ERR).
INVALID = {"ISEMAIL_CFWS", "ISEMAIL_DEPREC", "ISEMAIL_RFC5322", "ISEMAIL_ERR"}


@pytest.mark.skipif(not os.environ.get("PILLARBOX_TEST_DATA"), reason="PILLARBOX_TEST_DATA is not set")
def test_the_cases_of_is_email():
    tree = ET.parse(FilePath(os.environ["PILLARBOX_TEST_DATA"]) / "address" / "isemail-tests.xml")
    wrong, count = [], 0
    for case in tree.getroot().findall("test"):
        address = "".join(
            chr(ord(c) - 0x2400) if 0x2400 <= ord(c) < 0x2420 else c for c in case.findtext("address") or ""
        )
        number, category = case.get("id"), case.findtext("category")
        assert category in VALID | INVALID
        try:
            accepted = bool(parse_path(address))
        except AddressError:
            accepted = False
        if accepted != DIFFERENT.get(number, category in VALID):
            wrong.append((number, address, category))
        count += 1
    assert count == 164
    assert wrong == []
