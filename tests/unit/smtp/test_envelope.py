"""xtext (RFC 3461 section 4) and the size of what parameters may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.smtp.envelope import decode_xtext, parse_mail, parse_rcpt
from pillarbox.smtp.offer import Offer
from pillarbox.smtp.replies import Refusal


def test_xtext():
    assert decode_xtext("a+2Bb+3Dc") == "a+b=c"
    assert decode_xtext("+C3+BC") == "ü"
    assert decode_xtext("+FF") == "\ufffd"
    assert decode_xtext("üx") == "üx"
    for bad in ("+2b", "+", "a+2", "a=b", "a b"):
        with pytest.raises(ValueError, match="xtext"):
            decode_xtext(bad)


@given(st.text(max_size=40))
def test_xtext_gives_back_what_was_encoded(text):
    encoded = "".join(f"+{octet:02X}" for octet in text.encode())
    assert decode_xtext(encoded) == text


def test_long_values_are_refused():
    with pytest.raises(Refusal, match="ENVID"):
        parse_mail("FROM:<a@b.example> ENVID=" + "x" * 101, Offer(), 1000)
    with pytest.raises(Refusal, match="ORCPT"):
        parse_rcpt("TO:<a@b.example> ORCPT=rfc822;" + "x" * 501, Offer(), smtputf8=False)


def test_a_sender_may_have_a_longer_local_part_than_a_recipient():
    verp = f"bounces+{'x' * 80}=example.org@lists.example"
    assert parse_mail(f"FROM:<{verp}>", Offer(), 1000).sender.raw == verp
    with pytest.raises(Refusal):
        parse_rcpt(f"TO:<{verp}>", Offer(), smtputf8=False)
    with pytest.raises(Refusal):
        parse_mail(f"FROM:<{'x' * 250}@lists.example>", Offer(), 1000)


@given(st.text(max_size=60), st.booleans())
def test_any_argument_is_parsed_or_refused(text, smtputf8):
    for argument in (text, f"FROM:{text}", f"FROM:<a@b> {text}", f"FROM:<{text}>"):
        try:
            assert parse_mail(argument, Offer(), 1000).body
        except Refusal as refusal:
            assert refusal.reply.code in (501, 552, 553, 555)
    for argument in (f"TO:{text}", f"TO:<a@b> {text}", f"TO:<{text}>"):
        try:
            assert parse_rcpt(argument, Offer(), smtputf8=smtputf8).recipient.raw
        except Refusal as refusal:
            assert refusal.reply.code in (501, 553, 555)
