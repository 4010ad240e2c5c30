"""Which hosts take a domain's mail: RFC 5321 section 5.1, RFC 7505, and what people do in zones all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.dns import Answer, Kind
from pillarbox.flow.mail_hosts import (
    MOST_ADDRESSES,
    MOST_HOSTS,
    MailHost,
    NoHosts,
    mail_hosts,
    reverse_name_fault,
)

US = "mail.us.example"
NAMES = {"self_names": (US, "mx.us.example")}


class Zone:
    """A resolver over a dict: `zone["example.org", "MX"] = (10, "mx.example.org"), …`; a status in place of records is
    the answer. Names without anything do not exist, those with another kind have no data. Aliases are followed."""

    def __init__(self, *, secure: bool = False) -> None:
        self.records: dict[tuple[str, str], object] = {}
        self.secure = secure
        self.asked: list[tuple[str, str]] = []

    def __setitem__(self, key: tuple[str, str], value: object) -> None:
        self.records[key] = value

    async def query(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        while alias := self.records.get((name, "CNAME")):
            name = str(alias)
        found = self.records.get((name, kind))
        if isinstance(found, str):
            return Answer(found, canonical=name, reason="it is so")  # type: ignore[arg-type]
        if isinstance(found, tuple):
            return Answer("ok", found, 300, self.secure, name)
        there = any(owner == name for owner, _ in self.records)
        return Answer("nodata" if there else "nxdomain", (), 300, self.secure, name, "nothing there")

    async def close(self) -> None:
        return None


def keep(items: list[object]) -> None:
    """Chance that changes nothing."""


def zone(**options: bool) -> Zone:
    made = Zone(**options)
    made["example.org", "MX"] = (20, "b.example.org"), (10, "a.example.org")
    made["a.example.org", "A"] = ("192.0.2.1",)
    made["a.example.org", "AAAA"] = ("2001:db8::1",)
    made["b.example.org", "A"] = ("192.0.2.2", "192.0.2.3")
    return made


async def refused(made: Zone, domain: str = "example.org", **options: object) -> tuple[int, str, bool]:
    with pytest.raises(NoHosts) as raised:
        await mail_hosts(made, domain, shuffle=keep, **options)  # type: ignore[arg-type]
    assert raised.value.text
    return raised.value.code, raised.value.enhanced, raised.value.permanent


async def names(made: Zone, domain: str = "example.org", **options: object) -> list[str]:
    return [host.name for host in await mail_hosts(made, domain, shuffle=keep, **options)]  # type: ignore[arg-type]


async def test_hosts_by_preference_with_both_families() -> None:
    assert await mail_hosts(zone(), "Example.ORG.", shuffle=keep) == [
        MailHost("a.example.org", 10, ("2001:db8::1", "192.0.2.1"), False, "a.example.org"),
        MailHost("b.example.org", 20, ("192.0.2.2", "192.0.2.3"), False, "b.example.org"),
    ]


async def test_equals_and_addresses_come_by_chance() -> None:
    made = zone()
    made["example.org", "MX"] = (10, "a.example.org"), (10, "b.example.org"), (5, "c.example.org")
    made["c.example.org", "A"] = ("192.0.2.9",)

    def turned(items: list[object]) -> None:
        items.reverse()

    hosts = await mail_hosts(made, "example.org", shuffle=turned)  # type: ignore[arg-type]
    assert [host.name for host in hosts] == ["c.example.org", "b.example.org", "a.example.org"]
    assert hosts[1].addresses == ("192.0.2.3", "192.0.2.2")
    seen = {tuple(host.name for host in await mail_hosts(made, "example.org")) for _ in range(100)}
    assert len(seen) == 2
    assert {order[0] for order in seen} == {"c.example.org"}


async def test_a_domain_in_another_script_is_asked_for_by_its_a_label() -> None:
    made = Zone()
    made["xn--bcher-kva.example", "A"] = ("192.0.2.1",)
    assert await names(made, "Bücher.example") == ["xn--bcher-kva.example"]


async def test_a_domain_without_mx_is_its_own_host() -> None:
    made = Zone()
    made["example.org", "AAAA"] = ("2001:db8::1",)
    assert await mail_hosts(made, "example.org") == [MailHost("example.org", 0, ("2001:db8::1",), False, "example.org")]


async def test_a_domain_that_is_an_alias() -> None:
    made = zone()
    made["alias.example", "CNAME"] = "example.org"
    assert await names(made, "alias.example") == ["a.example.org", "b.example.org"]
    made["www.example", "CNAME"] = "a.example.org"
    (host,) = await mail_hosts(made, "www.example")
    assert (host.name, host.canonical) == ("www.example", "a.example.org")


async def test_a_host_that_is_an_alias_is_tolerated() -> None:
    made = zone()
    made["a.example.org", "CNAME"] = "b.example.org"
    hosts = await mail_hosts(made, "example.org")
    assert (hosts[0].name, hosts[0].canonical) == ("a.example.org", "b.example.org")
    assert set(hosts[0].addresses) == {"192.0.2.2", "192.0.2.3"}


async def test_null_mx() -> None:
    made = zone()
    made["example.org", "MX"] = ((0, "."),)
    assert await refused(made) == (556, "5.1.10", True)
    made["example.org", "MX"] = (0, "."), (10, "a.example.org")
    assert await names(made) == ["a.example.org"]


async def test_no_such_domain_and_no_address() -> None:
    assert await refused(Zone()) == (550, "5.1.2", True)
    made = Zone()
    made["example.org", "TXT"] = (b"x",)
    assert await refused(made) == (550, "5.1.2", True)


@pytest.mark.parametrize("status", ["temperror", "bogus"])
async def test_what_cannot_be_looked_up_waits(status: str) -> None:
    made = zone()
    made["example.org", "MX"] = status
    assert await refused(made) == (451, "4.4.3", False)
    made = zone()
    for host in ("a.example.org", "b.example.org"):
        made[host, "A"] = made[host, "AAAA"] = status
    assert await refused(made) == (451, "4.4.3", False)
    made["b.example.org", "A"] = ("192.0.2.2",)
    assert await names(made) == ["b.example.org"]  # one host is enough


async def test_half_an_answer_is_enough() -> None:
    made = zone()
    made["a.example.org", "AAAA"] = "temperror"
    assert (await mail_hosts(made, "example.org"))[0].addresses == ("192.0.2.1",)


async def test_hosts_without_addresses_are_left_out() -> None:
    made = zone()
    made["example.org", "MX"] = (10, "nowhere.example.org"), (20, "192.0.2.7"), (25, "a b"), (30, "b.example.org")
    assert await names(made) == ["b.example.org"]
    made["example.org", "MX"] = (10, "nowhere.example.org"), (20, "192.0.2.7")
    assert await refused(made) == (550, "5.4.4", True)
    assert ("192.0.2.7", "A") not in made.asked


async def test_we_leave_out_ourselves_and_who_is_no_better() -> None:
    made = zone()
    made["example.org", "MX"] = (10, "a.example.org"), (20, US), (20, "b.example.org"), (30, "c.example.org")
    made["c.example.org", "A"] = ("192.0.2.9",)
    assert await names(made, **NAMES) == ["a.example.org"]
    assert await names(made, backup=True, **NAMES) == ["a.example.org"]
    made[US, "A"] = ("192.0.2.8",)
    assert await names(made, self_names=("B.example.org.",)) == ["a.example.org"]


async def test_to_be_the_best_host_of_a_domain_that_is_not_ours_is_a_loop() -> None:
    made = zone()
    made["example.org", "MX"] = (10, US), (10, "a.example.org")
    assert await refused(made, **NAMES) == (554, "5.4.6", True)
    assert await refused(made, backup=True, **NAMES) == (451, "4.4.6", False)
    made = Zone()
    made[US, "A"] = ("192.0.2.1",)
    assert await refused(made, US, **NAMES) == (554, "5.4.6", True)


async def test_we_know_ourselves_behind_an_alias() -> None:
    made = zone()
    made["b.example.org", "CNAME"] = US
    made[US, "A"] = ("192.0.2.200",)
    made["example.org", "MX"] = (10, "a.example.org"), (20, "b.example.org"), (30, "c.example.org")
    assert await names(made, **NAMES) == ["a.example.org"]
    # The better host's address is unknown just now: that is no loop yet.
    made["a.example.org", "A"] = made["a.example.org", "AAAA"] = "temperror"
    assert await refused(made, **NAMES) == (451, "4.4.3", False)


async def test_secure_is_the_whole_way() -> None:
    assert [host.secure for host in await mail_hosts(zone(secure=True), "example.org")] == [True, True]

    class Mixed(Zone):
        async def query(self, name: str, kind: Kind) -> Answer:
            self.secure = name != "b.example.org"
            return await super().query(name, kind)

    made = Mixed()
    made.records = zone().records
    hosts = await mail_hosts(made, "example.org", shuffle=keep)  # type: ignore[arg-type]
    assert [host.secure for host in hosts] == [True, False]


@pytest.mark.parametrize(
    ("literal", "address"),
    [("[192.0.2.1]", "192.0.2.1"), ("[IPv6:2001:DB8::1]", "2001:db8::1"), ("[ipv6:::1]", "::1")],
)
async def test_literals(literal: str, address: str) -> None:
    made = Zone()
    assert await mail_hosts(made, literal) == [MailHost(literal, 0, (address,))]
    assert made.asked == []


@pytest.mark.parametrize(
    "literal", ["[", "[]", "[192.0.2]", "[192.0.2.1", "[2001:db8::1]", "[IPv6:fe80::1%eth0]", "[x]"]
)
async def test_bad_literals(literal: str) -> None:
    assert await refused(Zone(), literal) == (550, "5.1.2", True)


async def test_a_domain_cannot_send_us_round_the_world() -> None:
    made = Zone()
    made["example.org", "MX"] = tuple((number % 7, f"h{number}.example.org") for number in range(500))
    for number in range(500):
        made[f"h{number}.example.org", "A"] = tuple(f"192.0.2.{last}" for last in range(200))
        made[f"h{number}.example.org", "AAAA"] = tuple(f"2001:db8::{last}" for last in range(200))
    hosts = await mail_hosts(made, "example.org")
    assert len(hosts) == MOST_HOSTS
    assert {len(host.addresses) for host in hosts} == {2 * MOST_ADDRESSES}
    assert len(made.asked) == 1 + 2 * MOST_HOSTS
    made["example.org", "MX"] = ((10, "h1.example.org"),) * 300 + ((20, "h2.example.org"),)
    assert await names(made) == ["h1.example.org", "h2.example.org"]


HOSTS = st.sampled_from(["a.x", "b.x", "c.x", US, ".", "no.x", "late.x", "192.0.2.9", "mx.us.example", "alias.x"])


@given(st.lists(st.tuples(st.integers(0, 3), HOSTS), min_size=1, max_size=8), st.randoms(), st.booleans())
def test_whatever_a_zone_lists(listed: list[tuple[int, str]], chance: object, backup: bool) -> None:
    """Hosts come best first, each once, with addresses, and all are better than we are; or the refusal is one."""
    made = Zone()
    made["x", "MX"] = tuple(listed)
    for number, host in enumerate(["a.x", "b.x", "c.x", US, "mx.us.example"]):
        made[host, "A"] = (f"192.0.2.{number}",)
    made["alias.x", "CNAME"] = US
    made["late.x", "A"] = "temperror"
    shuffle: Callable[[list[object]], None] = chance.shuffle  # type: ignore[attr-defined]
    ours = [preference for preference, host in listed if host in (US, "mx.us.example", "alias.x")]
    try:
        hosts = asyncio.run(mail_hosts(made, "x", backup=backup, shuffle=shuffle, **NAMES))  # type: ignore[arg-type]
    except NoHosts as error:
        assert error.permanent == (error.code >= 500) == (error.enhanced[0] == "5")
        better = [
            host for preference, host in listed if host in ("a.x", "b.x", "c.x") and preference < min(ours, default=9)
        ]
        assert not better
        return
    assert hosts
    assert [host.preference for host in hosts] == sorted(host.preference for host in hosts)
    assert len({host.name for host in hosts}) == len(hosts)
    assert all(host.addresses for host in hosts)
    assert all(host.preference < min(ours, default=9) for host in hosts)


async def test_reverse_names() -> None:
    made = Zone()
    made["1.2.0.192.in-addr.arpa", "PTR"] = ("other.example", "mail.us.example")
    made[US, "A"] = ("192.0.2.9", "192.0.2.1")
    assert not await reverse_name_fault(made, "192.0.2.1", "Mail.us.example.")
    assert "is other.example" in await reverse_name_fault(made, "192.0.2.1", "mx.example")
    made[US, "A"] = ("192.0.2.9",)
    assert await reverse_name_fault(made, "192.0.2.1", US) == "mail.us.example does not lead back to 192.0.2.1"
    assert await reverse_name_fault(made, "192.0.2.2", US) == "192.0.2.2 has no reverse name (PTR)"
    assert await reverse_name_fault(made, "2001:db8::1", US)


async def test_a_reverse_name_that_cannot_be_looked_up_is_no_fault() -> None:
    made = Zone()
    made["1.2.0.192.in-addr.arpa", "PTR"] = "temperror"
    assert not await reverse_name_fault(made, "192.0.2.1", US)
    made["1.2.0.192.in-addr.arpa", "PTR"] = (US,)
    made[US, "A"] = "bogus"
    assert not await reverse_name_fault(made, "192.0.2.1", US)
