"""The order of SORT and its collation, and ranges of PARTIAL."""

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.partial import positions
from pillarbox.imap.sort import Criterion, display, in_order
from pillarbox.mime.analysis import analyse
from pillarbox.mime.casemap import casemap
from pillarbox.mime.envelope_reader import addresses

COLUMNS = {"SIZE": [3, 1, 3, 2], "SUBJECT": ["B", "A", "A", "A"]}


def order(*criteria):
    return in_order([10, 11, 12, 13], criteria, COLUMNS.__getitem__)


def test_criteria_one_after_the_other():
    assert order(Criterion("SIZE")) == [11, 13, 10, 12]
    assert order(Criterion("SUBJECT"), Criterion("SIZE")) == [11, 13, 12, 10]


def test_reverse_leaves_ties_in_the_order_of_the_mailbox():
    assert order(Criterion("SIZE", True)) == [10, 12, 13, 11]
    assert order(Criterion("SUBJECT", True), Criterion("SIZE", True)) == [10, 12, 13, 11]


def test_casemap():
    assert casemap("élan") == casemap("ÉLAN") == casemap("E\u0301lan")
    assert casemap("straße") != casemap("strasse")  # the simple mapping: RFC 5051 section 2
    assert casemap("Ａ") == casemap("a")
    assert casemap("lunch") < casemap("Supper")


@given(st.text())
def test_casemap_ignores_case_of_one_letter_at_a_time(text):
    turned = "".join(one.title() if len(one.title()) == 1 else one for one in text)
    assert casemap(turned) == casemap(text)


def test_display_is_the_name_or_the_address():
    assert display("Bob  Builder", "bob", "example.org") == "Bob Builder"
    assert display(" ", "bob", "example.org") == "bob@example.org"
    assert display("", "team", "") == "team"


def test_addresses_of_an_envelope():
    envelope = analyse(
        b'From: "Bob \\"X" <bob@example.org>, =?utf-8?q?=C3=9C?= <u@x>\r\nTo: G: a@b, c@d;\r\n'
        b"Subject: h\xc3\xa9 (\r\nCc: \xc3\x9c <v@x>\r\n\r\nx"
    ).envelope
    assert addresses(envelope, "from") == [('Bob "X', "bob", "example.org"), ("Ü", "u", "x")]
    assert addresses(envelope, "to") == [("", "G", ""), ("", "a", "b"), ("", "c", "d"), ("", "", "")]
    assert addresses(envelope, "cc", 1) == [("Ü", "v", "x")]
    assert addresses(envelope, "bcc") == []


@given(st.binary(max_size=200), st.sampled_from(["from", "to", "cc", "bcc"]))
def test_any_header_has_some_addresses_or_none(octets, field):
    envelope = analyse(field.encode() + b": " + octets + b"\r\n\r\n").envelope
    assert all(len(found) == 3 for found in addresses(envelope, field))


def test_partial_ranges():
    assert positions((1, 3), 10) == range(3)
    assert positions((3, 1), 10) == range(3)
    assert positions((8, 20), 10) == range(7, 10)
    assert len(positions((20, 30), 10)) == 0
    assert positions((-1, -3), 10) == range(7, 10)
    assert positions((-3, -2), 10) == range(7, 9)
    assert len(positions((-20, -30), 10)) == 0
