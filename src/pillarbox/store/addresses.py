"""Addresses as the directory compares them (local part and domain), nothing of their grammar on the wire."""

from __future__ import annotations

import re
import unicodedata

from pillarbox.store.errors import Invalid

SEPARATOR = "+"  # user+detail

# Labels as in DNS; the underscore stands in names of machines that nobody ever mended. Or an address literal.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-z.:]+\]")


def domain_key(domain: str) -> str:
    """The form in which two spellings of a domain are equal: lower case, NFC, A-labels, no dot at the end.

    An A-label is that of RFC 5891 (IDNA 2008), as it stands in DNS and on the wire: Python's `idna` codec has the older
    rules, by which the domain with a sharp s is that of somebody else with a double one.
    """
    domain = domain.rstrip(".").lower()
    if domain.isascii():
        return domain
    labels = unicodedata.normalize("NFC", domain).lower().split(".")
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode", "replace").decode("ascii") for label in labels
    )


def domain_name(text: str) -> str:
    """The key of a domain that mail can be sent to: what nobody could write in an address raises Invalid."""
    key = domain_key(text)
    if len(key) > 253 or not _DOMAIN.fullmatch(key):
        raise Invalid(f"{text!r} is not a domain")
    return key


def local_key(local: str) -> str:
    """Local parts here differ by more than the case of ASCII letters, or they are the same mailbox."""
    if local.isascii():
        return local.lower()
    return "".join(c.lower() if c.isascii() else c for c in unicodedata.normalize("NFC", local))


def split(address: str) -> tuple[str, str]:
    """Local part and domain, the domain as its key. Raises Invalid."""
    local, at, domain = address.rpartition("@")
    domain = domain_key(domain)
    if not (at and local and domain) or any(c <= " " or c == "\x7f" for c in address) or len(address) > 320:
        raise Invalid(f"{address!r} is not an address")
    return unicodedata.normalize("NFC", local), domain


def address_key(address: str) -> str:
    """The form in which two spellings of an address are equal. Raises Invalid."""
    local, domain = split(address)
    return f"{local_key(local)}@{domain}"
