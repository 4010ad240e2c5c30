"""Which hosts take the mail of a domain, in the order in which they are tried (RFC 5321 section 5.1, RFC 7505)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from pillarbox.dns import Answer, Resolver, reverse_name
from pillarbox.dns.names import is_host_name
from pillarbox.store.addresses import domain_key

MOST_HOSTS = 10
MOST_ADDRESSES = 8  # of one host in one family

Shuffle = Callable[[list[tuple[int, str]] | list[str]], None]


class MailHost(Struct, frozen=True):
    """A host to be tried. `name` is lower case without the last dot, or `[192.0.2.1]` for an address literal.

    `addresses` are those of IPv6 first, then IPv4, each in an order of chance; never empty. `secure`: the way from the
    domain to these addresses was validated throughout (RFC 7672 section 2.2). `canonical` is the name at the end of the
    host's aliases.
    """

    name: str
    preference: int
    addresses: tuple[str, ...]
    secure: bool = False
    canonical: str = ""


class NoHosts(Exception):
    """Nobody takes the mail of a domain, as a reply would say it; `permanent` ones are not worth another try."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(f"{code} {enhanced} {text}")
        self.code, self.enhanced, self.text = code, enhanced, text

    @property
    def permanent(self) -> bool:
        return self.code >= 500


async def mail_hosts(
    resolver: Resolver,
    domain: str,
    *,
    self_names: Collection[str] = (),
    backup: bool = False,
    shuffle: Shuffle = random.shuffle,
) -> list[MailHost]:
    """The hosts of a domain or an address literal, best first, equals shuffled. Raises NoHosts.

    We are recognised by `self_names`, also behind an alias: hosts that are no better than ourselves are left out, else
    two backups would send a message to and fro. (By another name we are recognised when we are reached.) `backup` says
    that we keep this domain's mail for somebody else: to be its best host then is taken for a mishap in the DNS, and
    waited out.
    """
    if domain.startswith("["):
        return [_literal(domain)]
    name = domain_key(domain)
    ours = {domain_key(own) for own in self_names}
    answer = await resolver.query(name, "MX")
    if answer.status == "nxdomain":
        raise NoHosts(550, "5.1.2", f"The domain {name} does not exist")
    if answer.failed:
        raise NoHosts(451, "4.4.3", f"The mail hosts of {name} cannot be looked up: {answer.reason}")
    if not answer.ok:
        return await _implicit(resolver, name, answer.secure, ours, backup, shuffle)
    listed = [(preference, host) for preference, host in answer.records if host != "."]
    if not listed:  # RFC 7505 section 3: beside others a null MX means nothing
        raise NoHosts(556, "5.1.10", f"The domain {name} takes no mail (null MX)")
    shuffle(listed)
    listed.sort(key=lambda entry: entry[0])
    best_of_ours = min((preference for preference, host in listed if host in ours), default=None)
    if best_of_ours is not None:
        listed = [entry for entry in listed if entry[0] < best_of_ours]
        if not listed:
            raise ourselves(name, backup)
    return await _resolved(resolver, name, listed, answer.secure, ours, backup, shuffle)


async def _implicit(
    resolver: Resolver,
    name: str,
    secure: bool,
    ours: set[str],
    backup: bool,
    shuffle: Shuffle,
) -> list[MailHost]:
    """A domain without MX is its own host (RFC 5321 section 5.1)."""
    if name in ours:
        raise ourselves(name, backup)
    return await _resolved(resolver, name, [(0, name)], secure, ours, backup, shuffle)


async def _resolved(
    resolver: Resolver,
    domain: str,
    listed: list[tuple[int, str]],
    secure: bool,
    ours: set[str],
    backup: bool,
    shuffle: Shuffle,
) -> list[MailHost]:
    """The hosts that have addresses, up to ourselves. All are looked up at once."""
    names = [(preference, host) for preference, host in _once(listed) if is_host_name(host)][:MOST_HOSTS]
    questions = [resolver.query(host, kind) for _, host in names for kind in ("AAAA", "A")]
    answers = await asyncio.gather(*questions)
    hosts: list[MailHost] = []
    undecided = ""
    for (preference, host), six, four in zip(names, answers[::2], answers[1::2], strict=True):
        addresses = (*_chosen(six, shuffle), *_chosen(four, shuffle))
        canonical = (six if six.ok else four).canonical or host
        if canonical in ours:
            hosts = [better for better in hosts if better.preference < preference]
            if not hosts and not undecided:
                raise ourselves(domain, backup)
            break
        if addresses:
            proved = secure and all(answer.secure for answer in (six, four) if answer.ok)
            hosts.append(MailHost(host, preference, addresses, proved, canonical))
        elif six.failed or four.failed:
            undecided = f"The addresses of {host} cannot be looked up: {(four if four.failed else six).reason}"
    if hosts:
        return hosts
    if undecided:
        raise NoHosts(451, "4.4.3", undecided)
    if [host for _, host in listed] == [domain]:
        raise NoHosts(550, "5.1.2", f"The domain {domain} has neither a mail host nor an address")
    raise NoHosts(550, "5.4.4", f"None of the mail hosts of {domain} has an address")


def _once(listed: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Each host at its best place only."""
    places: dict[str, int] = {}
    for preference, host in listed:
        places.setdefault(host, preference)
    return [(preference, host) for host, preference in places.items()]


def _chosen(answer: Answer, shuffle: Shuffle) -> list[str]:
    addresses = list(answer.records)
    shuffle(addresses)
    return addresses[:MOST_ADDRESSES]


def ourselves(domain: str, backup: bool) -> NoHosts:
    """What it means to be the best host of a domain that we do not know."""
    if backup:
        return NoHosts(451, "4.4.6", f"We keep the mail of {domain} for its own host, but are its best MX ourselves")
    return NoHosts(554, "5.4.6", f"Mail for {domain} would come back to us: we are its best MX, but do not know it")


def _literal(text: str) -> MailHost:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
    inner = text[1:-1] if text.endswith("]") else ""
    try:
        if inner[:5].lower() == "ipv6:":
            if "%" in inner:
                raise ValueError("a zone means nothing here")
            address = str(IPv6Address(inner[5:]))
        else:
            address = str(IPv4Address(inner))
    except ValueError:
        raise NoHosts(550, "5.1.2", f"{text} is no address literal") from None
    return MailHost(text, 0, (address,))


async def reverse_name_fault(resolver: Resolver, address: str, ehlo: str) -> str:
    """What is wrong with the reverse name of an address of ours, in words; "" when it is right or nobody can tell.

    It is right when the PTR names the host that we say we are, and that name leads back to the address.
    """
    name = domain_key(ehlo)
    reverse = await resolver.query(reverse_name(address), "PTR")
    if reverse.failed:
        return ""
    if not reverse.ok:
        return f"{address} has no reverse name (PTR)"
    if name not in reverse.records:
        return f"the reverse name (PTR) of {address} is {', '.join(map(str, reverse.records[:3]))}, not {name}"
    forward = await resolver.query(name, "AAAA" if ":" in address else "A")
    if forward.failed or address in forward.records:
        return ""
    return f"{name} does not lead back to {address}"
