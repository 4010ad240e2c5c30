import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.access.sasl import MECHANISMS, Challenge, Credentials, Failure, Login, Plain


def test_plain_with_its_initial_response():
    assert Plain().step(b"\0ada@example.com\0two words") == Credentials("ada@example.com", "two words")


def test_plain_asks_when_nothing_was_said():
    plain = Plain()
    assert plain.step(None) == Challenge(b"")
    assert plain.step(b"ada\0ada\0x") == Credentials("ada", "x")


@pytest.mark.parametrize("response", [b"", b"ada", b"\0ada", b"\0a\0b\0c", b"\0\xff\0x"])
def test_plain_that_is_malformed(response):
    outcome = Plain().step(response)
    assert isinstance(outcome, Failure)
    assert outcome.syntax


@pytest.mark.parametrize("response", [b"eve\0ada\0x", b"\0\0x", b"\0ada\0"])
def test_plain_that_is_refused(response):
    outcome = Plain().step(response)
    assert isinstance(outcome, Failure)
    assert not outcome.syntax


def test_login_asks_twice():
    login = Login()
    assert login.step(None) == Challenge(b"Username:")
    assert login.step(b"ada") == Challenge(b"Password:")
    assert login.step(b"x") == Credentials("ada", "x")


def test_login_with_the_name_in_the_command():
    login = Login()
    assert login.step(b"ada") == Challenge(b"Password:")
    assert login.step(b"x") == Credentials("ada", "x")


def test_login_without_a_password_is_refused():
    login = Login()
    login.step(b"ada")
    assert isinstance(login.step(b""), Failure)


@given(st.lists(st.binary(max_size=30), max_size=4), st.sampled_from(["PLAIN", "LOGIN"]))
def test_any_responses_end_in_an_outcome(responses, name):
    mechanism = MECHANISMS[name]()
    for response in responses:
        outcome = mechanism.step(response)
        assert isinstance(outcome, Challenge | Credentials | Failure)
        if not isinstance(outcome, Challenge):
            break
