"""Whose certificate a client has shown in the TLS handshake: the e-mail addresses in it.

They are those of the subject alternative names (rfc822Name, RFC 8550 section 3); a certificate without any may have
them as emailAddress in its subject, as older authorities write it. The common name is no address and is not read. TLS
has verified the certificate before, or it is not here.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

MOST = 20  # addresses of one certificate; each is looked up


def addresses(certificate: Mapping[str, Any] | None, now: float) -> tuple[str, ...]:
    """The addresses of what `ssl.SSLObject.getpeercert` gives, in the certificate's order; () without a certificate,
    and when it has ended by `now` (epoch seconds)."""
    if not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) < now:
        return ()
    found = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
    if not found:
        names = (name for group in certificate.get("subject", ()) for name in group)
        found = [value for kind, value in names if kind == "emailAddress"]
    good = (address for address in found if "@" in address and address.isprintable())
    return tuple(dict.fromkeys(good))[:MOST]
