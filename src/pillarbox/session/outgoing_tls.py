"""TLS to other servers: what a policy asks for, and the contexts for it.

never      in the clear
may        TLS when it is offered and works, whoever the other side is; else in the clear
require    TLS or no mail; any certificate
verify     TLS with a certificate for the host's name from an authority that we trust
implicit   the same from the first octet (port 465)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from pillarbox.smtp.address import domain_key

CHECKED = ("verify", "implicit")
MANDATORY = ("require", "verify", "implicit")
REMEMBER = 900.0  # seconds that a host with which TLS failed is spoken to in the clear, under `may`
_MOST = 10_000  # hosts that are remembered


async def context_for(policy: str, min_version: str, authorities: Path | None) -> ssl.SSLContext:
    """The context of a policy. `min_version` is "1.2" or "1.3"; `authorities` is a PEM file of certificates that are
    trusted besides the system's. Reading those takes tens of milliseconds, so a context is kept until the file changes.
    Raises OSError when that cannot be read."""
    source = _of_now(authorities) if authorities is not None and policy in CHECKED else None
    made = _made.get((policy, min_version))
    if made is None or made[0] != source:
        file = None if source is None else authorities
        context = await asyncio.to_thread(_context, policy in CHECKED, policy == "may", min_version, file)
        made = _made[policy, min_version] = source, context
    return made[1]


_Source = tuple[Path, int, int, int]  # a file as it was when it was read
_made: dict[tuple[str, str], tuple[_Source | None, ssl.SSLContext]] = {}


def _of_now(file: Path) -> _Source:
    found = file.stat()
    return file, found.st_ino, found.st_size, found.st_mtime_ns


def _context(checked: bool, lax: bool, min_version: str, authorities: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    if checked:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if authorities is not None:
            context.load_verify_locations(authorities)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if lax:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # short keys are better than none, which would be the alternative
    return context


def server_name(host: str, address: str) -> str | None:
    """What to send as SNI and to look for in the certificate; None for what is no name."""
    name = domain_key(host).strip("[]").removeprefix("ipv6:") or address
    try:
        ip_address(name)
    except ValueError:
        fits = name.isascii() and all(0 < len(label) <= 63 for label in name.split("."))
        return name if fits and len(name) <= 253 else None
    return name


class ClearHosts:
    """Addresses with which TLS has failed lately."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, address: str) -> None:
        if len(self._until) >= _MOST:
            self._until.pop(next(iter(self._until)))
        self._until[address] = self._clock() + REMEMBER

    def __contains__(self, address: str) -> bool:
        until = self._until.get(address)
        if until is not None and until <= self._clock():
            del self._until[address]
            return False
        return until is not None
