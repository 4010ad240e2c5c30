"""SCRAM: the example of RFC 7677, channel binding, downgrades, and what malformed messages end in."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.access.imitation import imitation
from pillarbox.access.passwords import scram_keys
from pillarbox.access.sasl import Challenge, Failure, KeysOf, Proven
from pillarbox.access.sasl_scram import Scram, ScramKeys, parse_keys
from scram_client import ScramClient

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = parse_keys(scram_keys("pencil", salt=SALT, iterations=4096))
BINDINGS = {"tls-server-end-point": b"\x01\x02", "tls-unique": b"\x03\x04"}


def scram(plus=False, plus_offered=False, bindings=BINDINGS, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"):
    return Scram(plus=plus, plus_offered=plus_offered, bindings=bindings, nonce=lambda: nonce)


def client_of(header="n,,", binding=b"", password="pencil", name="user"):
    return ScramClient(password, name, header=header, binding=binding)


def test_the_example_of_rfc_7677():
    exchange = scram()
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == KeysOf("user")
    assert exchange.keys(KEYS) == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    outcome = exchange.step(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert outcome == Proven(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def finished(exchange, client, **changes):
    outcome = exchange.step(client.first())
    if not isinstance(outcome, KeysOf):
        return outcome
    return exchange.step(client.final(exchange.keys(KEYS).data, **changes))


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-unique"])
def test_plus_binds_to_the_connection(kind):
    client = client_of(f"p={kind},,", BINDINGS[kind])
    outcome = finished(scram(plus=True, plus_offered=True), client)
    assert outcome == Proven(b"v=" + b64encode(client.server_proof))


def test_a_man_in_the_middle_has_another_certificate():
    client = client_of("p=tls-server-end-point,,", b"the certificate that the client saw")
    outcome = finished(scram(plus=True, plus_offered=True), client)
    assert isinstance(outcome, Failure) and not outcome.syntax


def test_a_list_without_plus_is_noticed_when_it_was_changed_on_its_way():
    taken_out = finished(scram(plus_offered=True), client_of("y,,"))
    assert isinstance(taken_out, Failure) and not taken_out.syntax and "changed" in taken_out.reason
    assert isinstance(finished(scram(plus_offered=False), client_of("y,,")), Proven)
    assert isinstance(finished(scram(plus_offered=True), client_of("n,,")), Proven)


@pytest.mark.parametrize(
    ("header", "plus", "syntax"),
    [
        ("n,,", True, True),
        ("y,,", True, True),
        ("p=tls-unique,,", False, True),
        ("p=tls-exporter,,", True, False),
        ("p=tls-server-end-point,a=bob,", True, False),
        ("x,,", False, True),
        ("n", False, True),
        ("n,a=,", False, None),
        ("n,a=user,", False, None),
        ("n,a=bob,", False, False),
    ],
)
def test_headers(header, plus, syntax):
    outcome = finished(scram(plus=plus, plus_offered=plus), client_of(header, BINDINGS["tls-server-end-point"] * plus))
    if syntax is None:
        assert isinstance(outcome, Proven)
    else:
        assert isinstance(outcome, Failure) and outcome.syntax is syntax


def test_who_speaks_without_plus_may_send_no_binding():
    """The binding in the last message must be the header of the first and nothing more."""
    outcome = finished(scram(), client_of("n,,", b"more"))
    assert isinstance(outcome, Failure) and not outcome.syntax


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"bound": "eSws"},
        {"proof": b64encode(b"short").decode()},
        {"proof": b64encode(bytes(32)).decode()},
    ],
)
def test_what_is_wrong_in_the_last_message_is_refused(changes):
    outcome = finished(scram(), client_of(), **changes)
    assert isinstance(outcome, Failure) and not outcome.syntax


def test_a_wrong_password_is_refused():
    outcome = finished(scram(), client_of(password="pencils"))
    assert isinstance(outcome, Failure) and not outcome.syntax


@pytest.mark.parametrize("name", ["", "a\0b", "a=b", "=2", "=20", "=2c"])
def test_malformed_names(name):
    assert isinstance(finished(scram(), client_of(name=name)), Failure)


def test_names_with_commas():
    assert scram().step(b"n,,n=a=2Cb=3Dc,r=x") == KeysOf("a,b=c")


@pytest.mark.parametrize("first", [b"n,,m=x,n=user,r=y", b"n,,r=y,n=user", b"n,,n=user", b"n,,n=user,r=", b"\xff"])
def test_malformed_first_messages(first):
    outcome = scram().step(first)
    assert isinstance(outcome, Failure) and outcome.syntax


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"n,,n=user,r=x", b"c=biws,r=x,p=YQ=="]), max_size=4))
def test_any_responses_end_in_an_outcome(responses):
    exchange = scram()
    for response in responses:
        outcome = exchange.step(response)
        assert not isinstance(outcome, Proven)
        if isinstance(outcome, KeysOf):
            assert isinstance(exchange.keys(KEYS), Challenge)


def test_keys_that_cannot_be_read_are_none():
    assert parse_keys("") is None
    assert parse_keys("SCRAM-SHA-256$4096:!!$a:b") is None
    assert parse_keys("SCRAM-SHA-1$4096:YQ==$YQ==:YQ==") is None
    assert parse_keys(scram_keys("x", salt=b"salt")) == ScramKeys(
        4096, b"salt", *(b64decode(part) for part in scram_keys("x", salt=b"salt").rpartition("$")[2].split(":"))
    )


def test_an_imitation_is_the_same_each_time_in_every_spelling_of_the_name():
    first = imitation(b"secret", "Nobody@Example.COM")
    assert first[:2] == imitation(b"secret", "nobody@example.com")[:2]
    assert first.salt != imitation(b"secret", "other@example.com").salt
    assert first.salt != imitation(b"another", "nobody@example.com").salt
    assert len(first.salt) == 16 and first.iterations == 4096
    assert imitation(b"secret", "Ada").salt == imitation(b"secret", "ada").salt
