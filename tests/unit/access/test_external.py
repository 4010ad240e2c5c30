"""EXTERNAL: which addresses a certificate has, and which account they lead to."""

import pytest

from pillarbox.access.client_certificate import MOST, addresses
from pillarbox.access.exchange import Channel, offered
from pillarbox.access.sasl import Certified, Challenge, Failure
from pillarbox.access.sasl_external import External


def test_the_addresses_of_a_certificate():
    both = {
        "subject": ((("commonName", "c@x.example"),), (("emailAddress", "old@x.example"), ("emailAddress", "o2@x"))),
        "subjectAltName": (
            ("DNS", "x.example"),
            ("email", "a@x.example"),
            ("email", "b@x.example"),
            ("email", "a@x.example"),
        ),
    }
    assert addresses(both) == ("a@x.example", "b@x.example")
    assert addresses({"subject": both["subject"]}) == ("old@x.example", "o2@x")
    assert addresses({"subject": ((("commonName", "c@x.example"),),)}) == ()
    assert addresses({"subjectAltName": (("email", "a@x\0.example"), ("email", "nobody"))}) == ()
    assert len(addresses({"subjectAltName": tuple(("email", f"{n}@x") for n in range(50))})) == MOST
    assert addresses({}) == addresses(None) == ()


def test_it_is_offered_first_and_only_with_a_certificate():
    assert "EXTERNAL" not in offered(Channel({"tls-server-end-point": b"x"}))
    assert offered(Channel({}, ("a@x.example",)))[:2] == ("EXTERNAL", "SCRAM-SHA-256")


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (None, Challenge(b"")),
        (b"", Certified("", ("a@x",))),
        (b"b", Certified("b", ("a@x",))),
        ("ä".encode(), Certified("ä", ("a@x",))),
        (b"\xff", Failure("an EXTERNAL response is UTF-8")),
        (b"a\0b", Failure("an EXTERNAL response holds no NUL")),
    ],
)
def test_steps(response, outcome):
    assert External(("a@x",)).step(response) == outcome
