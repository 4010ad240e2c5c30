"""Whose certificate a client has shown in the TLS handshake: the e-mail addresses in it.

They are those of the subject alternative names (rfc822Name, RFC 8550 section 3); a certificate without any may have
them as emailAddress in its subject, as older authorities write it. The common name is no address and is not read. TLS
has verified the certificate before, or it is not here.

A certificate that is registered for an account (`store.client_certificates`) is known by its fingerprint. TLS believes
it by itself, and whatever it has signed, if it is an authority: so addresses count only where the authorities of
SMTP_TLS_CLIENT_CA vouch for them.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

MOST = 20  # addresses of one certificate; each is looked up


def has_ended(certificate: Mapping[str, Any] | None, now: float) -> bool:
    """Whether there is none that is good by `now`: a resumed TLS session brings one that was good at its beginning."""
    return not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) < now


def addresses(certificate: Mapping[str, Any] | None, now: float) -> tuple[str, ...]:
    """The addresses of what `ssl.SSLObject.getpeercert` gives, in the certificate's order; () without a certificate,
    and when it has ended by `now` (epoch seconds)."""
    if has_ended(certificate, now):
        return ()
    assert certificate
    found = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
    if not found:
        names = (name for group in certificate.get("subject", ()) for name in group)
        found = [value for kind, value in names if kind == "emailAddress"]
    good = (address for address in found if "@" in address and address.isprintable())
    return tuple(dict.fromkeys(good))[:MOST]
