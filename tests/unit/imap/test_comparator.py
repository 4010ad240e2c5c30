"""Comparators: their keys, and how one is chosen (RFC 4790, RFC 5255 section 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.comparator import DEFAULT, choose
from pillarbox.imap.responses import comparator
from pillarbox.imap.sort import Criterion, in_direction

UNICODE, ASCII, OCTET = "i;unicode-casemap", "i;ascii-casemap", "i;octet"


@pytest.mark.parametrize(
    ("orders", "selected", "matching"),
    [
        (["default"], UNICODE, [UNICODE]),
        (["i;octet"], OCTET, [OCTET]),
        (["I;OCTET"], OCTET, [OCTET]),
        (["+i;octet"], OCTET, [OCTET]),
        (["-i;octet"], "-" + OCTET, [OCTET]),
        (["-default"], None, None),
        (["*"], UNICODE, [UNICODE, ASCII, OCTET]),
        (["i;*case*"], UNICODE, [UNICODE, ASCII]),
        (["-i;*;*", "i;a*"], ASCII, [ASCII]),
        (["cz;*", "i;ascii-casemap", "i;*"], ASCII, [ASCII, UNICODE, OCTET]),
        (["i;ascii-numeric"], None, None),
        (["i;octe*t"], OCTET, [OCTET]),
        (["i;octet*octet"], None, None),
        (["i;o*o*t"], None, None),
    ],
)
def test_choosing(orders, selected, matching):
    found = choose(orders)
    if selected is None:
        assert found is None
    else:
        assert found is not None
        assert (found[0].selected, list(found[1])) == (selected, matching)


def test_keys():
    ascii_casemap, octet = choose([ASCII])[0].key, choose([OCTET])[0].key
    assert ascii_casemap("Élan a") == "ÉLAN A" != ascii_casemap("élan a")
    assert ascii_casemap("ß") == "ß"
    assert octet("Ab") != octet("aB")
    assert DEFAULT.key("élan") == DEFAULT.key("ÉLAN")


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_texts_stand_in_the_order_of_their_octets(one, other):
    key = choose([OCTET])[0].key
    assert (key(one) < key(other)) == (one.encode() < other.encode())


@given(st.text(), st.text(), st.text())
def test_a_part_of_a_text_is_found_in_it(before, part, after):
    for one in ("i;ascii-casemap", "i;octet"):
        key = choose([one])[0].key
        assert key(part) in key(before + part + after)


def test_the_order_is_turned_round_for_texts_only():
    turned, _ = choose(["-i;octet"])
    criteria = [Criterion("SUBJECT"), Criterion("FROM", True), Criterion("DATE"), Criterion("SIZE", True)]
    assert [one.reverse for one in in_direction(criteria, turned)] == [True, False, False, True]
    assert in_direction(criteria, DEFAULT) == criteria


def test_the_response():
    assert comparator("i;octet", ("i;octet",)) == b"COMPARATOR i;octet"
    assert comparator("-i;octet", ("i;octet", "i;x")) == b"COMPARATOR -i;octet (i;octet i;x)"
