"""OAUTHBEARER and XOAUTH2: the messages, and our tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.access.bearer import covers, make_token, token_hash
from pillarbox.access.sasl import Challenge, Failure, Token
from pillarbox.access.sasl_oauth import OAuthBearer, XOAuth2


@pytest.mark.parametrize(
    ("message", "username"),
    [
        (b"n,a=ada@example.com,\x01host=mx\x01port=587\x01auth=Bearer tok.en-1=\x01\x01", "ada@example.com"),
        (b"y,,\x01auth=bearer tok.en-1=\x01\x01", ""),
        (b"n,a=a=2Cb=3D,\x01auth=Bearer  tok.en-1=\x01x=y\x01\x01", "a,b="),
    ],
)  # fmt: skip
def test_oauthbearer(message, username):
    outcome = OAuthBearer().step(message)
    assert isinstance(outcome, Token)
    assert (outcome.username, outcome.token) == (username, "tok.en-1=")


def test_xoauth2():
    outcome = XOAuth2().step(b"user=ada@example.com\x01auth=Bearer ya29\x01\x01")
    assert isinstance(outcome, Token)
    assert (outcome.username, outcome.token) == ("ada@example.com", "ya29")


@pytest.mark.parametrize("mechanism", [OAuthBearer, XOAuth2])
def test_without_an_initial_response_it_is_asked_for(mechanism):
    assert mechanism().step(None) == Challenge(b"")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"n,,",
        b"n,,\x01\x01",
        b"n,a=a\0b,\x01auth=Bearer x\x01\x01",
        b"n,a=a=b,\x01auth=Bearer x\x01\x01",
        b"user=a\0b\x01auth=Bearer x\x01\x01",
        b"p=tls-unique,,\x01auth=Bearer x\x01\x01",
        b"n,,\x01auth=Basic x\x01\x01",
        b"n,,\x01auth=Bearer x\x01",
        b"n,,auth=Bearer x\x01\x01",
        b"n,,\x01auth=Bearer x y\x01\x01",
        b"user=ada\x01auth=Bearer\x01\x01",
        b"auth=Bearer x\x01\x01",
        b"\xff",
    ],
)
def test_malformed_messages(message):
    for mechanism in (OAuthBearer(), XOAuth2()):
        outcome = mechanism.step(message)
        assert isinstance(outcome, Failure) and outcome.syntax


@given(st.binary(max_size=80))
def test_any_octets_end_in_an_outcome(message):
    for mechanism in (OAuthBearer(), XOAuth2()):
        assert isinstance(mechanism.step(message), Token | Failure)


def test_tokens_differ_and_their_hash_does_not():
    token = make_token()
    assert token != make_token()
    assert token.startswith("pbx_") and len(token) > 40
    assert token_hash(token) == token_hash(token) and len(token_hash(token)) == 64


def test_scopes():
    assert covers("", "smtp")
    assert covers("imap smtp", "smtp")
    assert not covers("imap", "smtp")
