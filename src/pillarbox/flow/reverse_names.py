"""A warning when the address we send from does not have our name: many servers refuse mail for that.

The reverse name (PTR) of each source address must be the name of our EHLO, and that name must lead back. Looked at soon
after the start and once a day, said once for each address and fault. Behind a router that rewrites addresses nobody can
tell from here: private addresses are left out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address

import structlog

from pillarbox.dns import Resolver
from pillarbox.flow.mail_hosts import reverse_name_fault
from pillarbox.store import Store, StoreError
from pillarbox.store.routes import routes

log = structlog.get_logger()

FIRST, EVERY = 20.0, 86_400.0  # seconds
# Addresses for documentation (RFC 5737, RFC 3849): the way to them is the way out, and nothing is sent to them.
_ANYWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

Source = tuple[str, str]  # address, name in EHLO


class ReverseNames:
    """Looks at the source addresses of this machine and of the routes. `hostname` gives the name of our EHLO now."""

    def __init__(
        self,
        resolver: Resolver,
        store: Store,
        hostname: Callable[[], str],
        *,
        addresses: Callable[[], list[str]] | None = None,
        warn: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._resolver, self._store, self._hostname = resolver, store, hostname
        self._addresses = addresses or own_addresses
        self._warn = warn or _warn
        self._sleep = sleep
        self._said: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="reverse-names")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        await self._sleep(FIRST)
        while True:
            try:
                await self.check()
            except StoreError as error:
                log.info("The reverse names of our addresses were not looked at", error=str(error))
            except Exception:
                log.exception("Looking at the reverse names of our addresses failed")
            await self._sleep(EVERY)

    async def check(self) -> list[str]:
        """Look once; the faults that were said now."""
        said = []
        for address, name in await self.sources():
            fault = await reverse_name_fault(self._resolver, address, name)
            if fault and fault not in self._said:
                self._said.add(fault)
                self._warn(fault)
                said.append(fault)
        return said

    async def sources(self) -> list[Source]:
        """The public addresses that mail leaves from, with the name that is said there; those of routes included."""
        hostname = self._hostname()
        pairs = [(address, hostname) for address in self._addresses()]
        for route in await self._store.read(routes):
            name = route.ehlo_name or hostname
            pairs += [(address, name) for address in (route.source_ipv4, route.source_ipv6) if address]
            if route.ehlo_name:
                pairs += [(address, name) for address in self._default(route.source_ipv4, route.source_ipv6)]
        return list(dict.fromkeys(pair for pair in pairs if _is_public(pair[0]) and "." in pair[1]))

    def _default(self, ipv4: str, ipv6: str) -> Iterable[str]:
        """The machine's own addresses of the families for which a route has none."""
        return (address for address in self._addresses() if not (ipv6 if ":" in address else ipv4))


def own_addresses() -> list[str]:
    """The addresses from which this machine reaches others, at most one of each family; sends nothing."""
    found = []
    for family, target in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return found


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def _warn(fault: str) -> None:
    log.warning(
        f"Reverse DNS: {fault}. Other servers will refuse or distrust our mail. Fix: have the provider of the address "
        "set its PTR to the name in SMTP_HOSTNAME (or the route's EHLO name), and give that name the address"
    )
