"""The engine for systems without libunbound: c-ares, which asks and believes. Its answers are never `secure`.

One channel with a thread of the library's own; results come over to the loop. c-ares keeps the negative answers, whose
lifetime (the SOA's minimum, RFC 2308) it does not tell us: they come back with a ttl of 0 and are asked of it again.
Nor does it tell the rarer RCODEs from an answer without records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import pycares
from pycares import errno

from pillarbox.dns.answer import Answer, Kind
from pillarbox.dns.names import spelled
from pillarbox.dns.rdata import NUMBERS
from pillarbox.dns.servers import Server

TRY = 2.0  # seconds for the first try of a server; c-ares doubles it
TRIES = 3
MOST_ALIASES = 12  # of one name, over all answers
MOST_RECORDS = 256

_NOTHING: dict[int, tuple[str, str]] = {
    errno.ARES_ENOTFOUND: ("nxdomain", "no such domain"),
    errno.ARES_ENODATA: ("nodata", "no such records"),
    errno.ARES_EBADNAME: ("nxdomain", "this is no domain name"),
}


class CaresEngine:
    """Made on a running loop, in the process that asks."""

    validates = False

    def __init__(self, servers: Sequence[Server]) -> None:
        self.name = f"c-ares {pycares.ARES_VERSION}"
        self._loop = asyncio.get_running_loop()
        # Not /etc/hosts, no search list; the servers are ours, so a change of resolv.conf changes nothing here.
        self._channel: pycares.Channel | None = pycares.Channel(
            timeout=TRY, tries=TRIES, lookups="b", servers=[server.with_port for server in servers]
        )

    async def ask(self, name: str, kind: Kind) -> Answer:
        """A recursive server follows the aliases itself; what it left open is asked for."""
        asked, seen, ttl = name, {name}, -1
        while True:
            status, answer = await self._one(asked, kind)
            if answer is None:
                return _failed(status, asked)
            found = _follow(answer.answer, asked, kind, seen)
            if found is None:
                return Answer("temperror", canonical=name, reason="aliases (CNAME) without an end")
            records, end, lifetime = found
            ttl = lifetime if ttl < 0 else min(ttl, lifetime) if lifetime >= 0 else ttl
            if records:
                return Answer("ok", records[:MOST_RECORDS], max(0, ttl), False, end)
            if end == asked:
                return Answer("nodata", canonical=end, reason=f"no {kind} records")
            asked = end

    async def _one(self, name: str, kind: Kind) -> tuple[int, pycares.DNSResult | None]:
        """The answer to one packet, or c-ares' number of why there is none."""
        future: asyncio.Future[tuple[int, pycares.DNSResult | None]] = self._loop.create_future()
        if self._channel is None:
            return errno.ARES_EDESTRUCTION, None

        def arrived(result: Any, number: int | None) -> None:  # in the thread of c-ares
            outcome = (number or 0, None if number else result)
            try:
                self._loop.call_soon_threadsafe(_settle, future, outcome)
            except RuntimeError:
                return  # the loop has ended

        try:
            self._channel.query(name, NUMBERS[kind], callback=arrived)
        except pycares.AresError as error:
            _settle(future, (int(error.args[0]) if error.args else errno.ARES_EFORMERR, None))
        return await future

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.cancel()
            channel.close()


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        future.set_result(outcome)


def _failed(number: int, name: str) -> Answer:
    status, reason = _NOTHING.get(number, ("temperror", f"c-ares: {errno.strerror(number)!s}"))
    return Answer(status, canonical=name, reason=reason)  # type: ignore[arg-type]  # the statuses of _NOTHING are some


def _follow(
    records: list[pycares.DNSRecord], name: str, kind: Kind, seen: set[str]
) -> tuple[tuple[Any, ...], str, int] | None:
    """The records of a name in an answer section, by way of its aliases: with the name they stand under and the
    shortest lifetime on the way (-1: there was nothing). None for a loop or too long a way."""
    if kind == "CNAME":
        found = [record for record in records if record.type == NUMBERS["CNAME"] and spelled(record.name) == name]
        return tuple(_value(kind, record.data) for record in found), name, min((r.ttl for r in found), default=-1)
    aliases: dict[str, tuple[str, int]] = {}
    there: dict[str, list[tuple[Any, int]]] = {}
    for record in records:
        owner = spelled(record.name)
        if record.record_class != 1:
            continue
        if record.type == NUMBERS["CNAME"]:
            aliases[owner] = spelled(record.data.cname), record.ttl  # type: ignore[union-attr]
        elif record.type == NUMBERS[kind]:
            try:
                there.setdefault(owner, []).append((_value(kind, record.data), record.ttl))
            except ValueError:
                continue
    lifetime = -1
    while name not in there and name in aliases:
        name, ttl = aliases[name]
        lifetime = ttl if lifetime < 0 else min(lifetime, ttl)
        if name in seen or len(seen) > MOST_ALIASES:
            return None
        seen.add(name)
    found_here = there.get(name, [])
    for _, ttl in found_here:
        lifetime = ttl if lifetime < 0 else min(lifetime, ttl)
    return tuple(value for value, _ in found_here), name, lifetime


_VALUES: dict[Kind, Callable[[Any], Any]] = {
    "A": lambda data: str(ip_address(data.addr)),
    "AAAA": lambda data: str(ip_address(data.addr)),
    "MX": lambda data: (data.priority, spelled(data.exchange)),
    "TXT": lambda data: bytes(data.data),
    "PTR": lambda data: spelled(data.dname),
    "CNAME": lambda data: spelled(data.cname),
    "SRV": lambda data: (data.priority, data.weight, data.port, spelled(data.target)),
    "TLSA": lambda data: (data.cert_usage, data.selector, data.matching_type, bytes(data.cert_association_data)),
}


def _value(kind: Kind, data: Any) -> Any:
    return _VALUES[kind](data)
