"""Addresses as the directory compares them (local part and domain), nothing of their grammar on the wire."""

from __future__ import annotations

from pillarbox.store.errors import Invalid

SEPARATOR = "+"  # user+detail


def domain_key(domain: str) -> str:
    """The form in which two spellings of a domain are equal: lower case, A-labels (RFC 5890), no dot at the end."""
    domain = domain.rstrip(".").lower()
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def local_key(local: str) -> str:
    """Local parts here differ by more than the case of ASCII letters, or they are the same mailbox."""
    return "".join(c.lower() if c.isascii() else c for c in local) if not local.isascii() else local.lower()


def split(address: str) -> tuple[str, str]:
    """Local part and domain, the domain as its key. Raises Invalid."""
    local, at, domain = address.rpartition("@")
    domain = domain_key(domain)
    if not (at and local and domain) or any(c <= " " or c == "\x7f" for c in address) or len(address) > 320:
        raise Invalid(f"{address!r} is not an address")
    return local, domain


def address_key(address: str) -> str:
    """The form in which two spellings of an address are equal. Raises Invalid."""
    local, domain = split(address)
    return f"{local_key(local)}@{domain}"
