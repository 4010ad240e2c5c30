"""EXTERNAL: which addresses a certificate has, and which account they lead to."""

import pytest

from pillarbox.access.client_certificate import MOST, addresses
from pillarbox.access.exchange import Channel, offered
from pillarbox.access.sasl import Certified, Challenge, Failure
from pillarbox.access.sasl_external import External

NOW = 1795332124.0  # Nov 22 07:22:04 2026 GMT


def test_the_addresses_of_a_certificate():
    dated = {"notAfter": "Nov 22 07:22:04 2026 GMT"}
    both = {
        **dated,
        "subject": ((("commonName", "c@x.example"),), (("emailAddress", "old@x.example"), ("emailAddress", "o2@x"))),
        "subjectAltName": (
            ("DNS", "x.example"),
            ("email", "a@x.example"),
            ("email", "b@x.example"),
            ("email", "a@x.example"),
        ),
    }
    assert addresses(both, NOW) == ("a@x.example", "b@x.example")
    assert addresses({**dated, "subject": both["subject"]}, NOW) == ("old@x.example", "o2@x")
    assert addresses({**dated, "subject": ((("commonName", "c@x.example"),),)}, NOW) == ()
    assert addresses({**dated, "subjectAltName": (("email", "a@x\0.example"), ("email", "nobody"))}, NOW) == ()
    assert len(addresses({**dated, "subjectAltName": tuple(("email", f"{n}@x") for n in range(50))}, NOW)) == MOST
    assert addresses({}, NOW) == addresses(None, NOW) == ()
    assert addresses(both, NOW + 1) == ()  # it has ended


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
