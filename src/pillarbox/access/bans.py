"""Addresses that guess passwords: each failure takes longer, and at some number of them comes a ban that expires.

Failures are counted over all workers, in the table that counts messages by address (`limits`), so they are forgotten
with its window. The bans themselves are in the store, and in the memory of each worker; a change there, by another
worker or by `pillarbox ban remove`, is read at once. An IPv6 client is its /64. Addresses of listed networks, of our
proxies and of unix sockets are never banned nor counted. A mail program that goes on trying one wrong password is
counted once for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import structlog

from pillarbox.store import bans
from pillarbox.store.errors import Busy, StoreError
from pillarbox.store.records import BanRow
from pillarbox.store.store import Store
from pillarbox.store.tx import DIRECTORY, Touched

from .limits import Limiter

log = structlog.get_logger()

Network = IPv4Network | IPv6Network

FREE = 3  # failures that take a second; the next ones longer and longer
SLOWEST = 8.0  # seconds
_KIND = b"login failure"
_MOST_COUNTED = 10_000  # addresses whose failures this worker slows down


@dataclass(frozen=True, slots=True)
class BanPolicy:
    """`failures` in a window that end in a ban, 0 for never; `seconds` that the first ban lasts."""

    failures: int = 0
    seconds: int = 3600
    never: tuple[Network, ...] = ()


def network_of(address: str) -> str:
    """What is banned for an address: itself, or the /64 of IPv6. Raises ValueError."""
    ip = ip_address(address.partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip) if ip.version == 4 else str(ip_network((ip, 64), strict=False))


def told(ban: BanRow) -> str:
    """What its client is told."""
    until = datetime.fromtimestamp(ban.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"Your address is banned until {until} UTC: {ban.reason}"


class Bans:
    """The bans as one worker knows them. `policy` is asked each time: a reload changes it."""

    def __init__(
        self,
        store: Store,
        limiter: Limiter,
        policy: Callable[[], BanPolicy],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._limiter = limiter
        self._policy = policy
        self._clock = clock
        self._bans: dict[str, BanRow] | None = None  # None: to be read
        self._reading: asyncio.Task[None] | None = None
        self._failures: OrderedDict[str, int] = OrderedDict()

    def of(self, address: str) -> BanRow | None:
        """The ban that holds for an address now."""
        if self._bans is None:
            self._read()
        if not self._bans or not address:
            return None
        try:
            network = network_of(address)
        except ValueError:
            return None
        found = self._bans.get(network)
        if found is None or found.expires_at <= self._clock() or self.spared(address):
            return None
        return found

    def spared(self, address: str) -> bool:
        """Whether this address is never banned."""
        policy = self._policy()
        try:
            ip = ip_address(network_of(address).partition("/")[0])
            return any(ip in network or ip_address(address.partition("%")[0]) in network for network in policy.never)
        except ValueError:
            return True  # no address: a unix socket

    def failed(self, address: str, protocol: str, *, counted: bool = True) -> float:
        """A login has failed; the seconds that the answer is to take."""
        policy = self._policy()
        if not policy.failures or self.spared(address):
            return 1.0
        network = network_of(address)
        before = self._failures.pop(network, 0)
        self._failures[network] = before + counted
        if len(self._failures) > _MOST_COUNTED:
            self._failures.popitem(last=False)
        if counted and not self._limiter.rate_of(_KIND, network.encode(), policy.failures - 1 or 1):
            self._failures.pop(network, None)
            self._ban(network, policy, protocol)
        elif counted and policy.failures == 1:
            self._ban(network, policy, protocol)
        return min(SLOWEST, 2.0 ** max(0, before - FREE + 1))

    def _ban(self, network: str, policy: BanPolicy, protocol: str) -> None:
        reason = f"{policy.failures} failed logins, the last by {protocol}"
        now = int(self._clock())
        if self._bans is not None and network in self._bans and self._bans[network].expires_at > now:
            return
        log.warning("Banned %s after %s", network, reason, seconds=policy.seconds)
        self._bans = {**(self._bans or {}), network: BanRow(network, reason, 1, now, now + policy.seconds)}
        self._store.write(bans.ban, network, policy.seconds, reason).add_done_callback(_heard)

    def changed(self, touched: Collection[Touched]) -> None:
        """For `store.on_commit`: the table may have changed."""
        if DIRECTORY in touched:
            self._read()

    def _read(self) -> None:
        """Read them here if that needs no waiting, else in a task; until then those known before hold."""
        if self._bans is None:
            self._bans = {}
        try:
            self._take(self._store.peek(bans.holding))
        except Busy:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.get_running_loop().create_task(self._read_later())
        except StoreError as error:
            log.warning("The bans could not be read", error=str(error))

    async def _read_later(self) -> None:
        try:
            self._take(await self._store.read(bans.holding))
        except StoreError as error:
            log.warning("The bans could not be read", error=str(error))

    def _take(self, rows: Iterable[BanRow]) -> None:
        self._bans = {row.network: row for row in rows}


def _heard(done: asyncio.Future[BanRow]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("A ban was not stored, it holds in this worker alone", error=str(error))
