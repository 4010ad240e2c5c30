"""The hosts of a hop: by MX for domains, by name for a smarthost or an LMTP server, which may also be in /etc/hosts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import ip_address

from pillarbox.dns import Resolver
from pillarbox.flow.mail_hosts import MailHost, NoHosts, mail_hosts
from pillarbox.flow.parcel import Hop

Hosts = Callable[[Hop], Awaitable[Sequence[MailHost]]]


def hosts_by(resolver: Resolver, self_names: Callable[[], Collection[str]]) -> Hosts:
    """A function that finds the hosts of a hop, best first, and raises NoHosts. `self_names` are our own names."""

    async def hosts(hop: Hop) -> Sequence[MailHost]:
        if hop.by_domain:
            return await mail_hosts(resolver, hop.domain, self_names=self_names(), backup=hop.kind == "backup")
        return [MailHost(hop.host, 0, await _addresses(resolver, hop.host))]

    return hosts


async def _addresses(resolver: Resolver, host: str) -> tuple[str, ...]:
    """Of one host, IPv6 first. It is ours to name, so whatever is wrong with it is for the operator: the mail waits."""
    try:
        return (str(ip_address(host.strip("[]"))),)
    except ValueError:
        pass
    if "." in host:
        answers = await asyncio.gather(resolver.query(host, "AAAA"), resolver.query(host, "A"))
        if found := tuple(address for answer in answers if answer.ok for address in answer.records):
            return found
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NoHosts(451, "4.4.3", f"The host {host} has no address") from None
    found = tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))
    return tuple(sorted(found, key=lambda address: ":" not in address))
