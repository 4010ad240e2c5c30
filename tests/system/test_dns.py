"""Real servers: a signed root and zones on nsd behind unbound, asked by both engines; they die and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dns_servers import BOGUS, SIGNED, UNSIGNED, DnsServers, Zone, missing
from pillarbox.dns import CachingResolver, open_resolver
from pillarbox.dns.unbound_library import missing_library
from pillarbox.flow.mail_hosts import NoHosts, mail_hosts, reverse_name_fault
from running import Running

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there")
UNBOUND = pytest.param(
    "unbound", marks=pytest.mark.skipif(bool(missing_library()), reason="libunbound8 is not installed")
)


def opened(servers: DnsServers, engine: str, timeout: float = 5.0) -> CachingResolver:
    return open_resolver(
        engine=engine,  # type: ignore[arg-type]
        servers=[servers.resolver],
        trust_anchor=str(servers.anchor),
        timeout=timeout,
    )


@pytest.fixture(params=[UNBOUND, "cares"])
async def resolver(request: pytest.FixtureRequest, dns: DnsServers) -> AsyncIterator[CachingResolver]:
    made = opened(dns, request.param)
    yield made
    await made.close()


@pytest.mark.parametrize("domain", [SIGNED, UNSIGNED])
async def test_every_kind_of_record(resolver: CachingResolver, domain: str) -> None:
    expected = {
        (domain, "MX"): {(10, f"mx1.{domain}"), (20, f"mx2.{domain}")},
        (f"mx1.{domain}", "A"): {"127.0.0.11"},
        (f"mx1.{domain}", "AAAA"): {"::1"},
        (domain, "TXT"): {b"v=spf1 -all and more"},
        (f"_25._tcp.mx1.{domain}", "TLSA"): {(3, 1, 1, bytes.fromhex("0123456789abcdef" * 4))},
        (f"_submission._tcp.{domain}", "SRV"): {(5, 7, 587, f"mx1.{domain}")},
        (f"alias.{domain}", "CNAME"): {f"mx1.{domain}"},
        (f"alias.{domain}", "A"): {"127.0.0.11"},
        (f"moved.{domain}", "MX"): {(10, f"mx1.{domain}"), (20, f"mx2.{domain}")},
    }
    secure = domain == SIGNED and resolver.engine().validates
    for (name, kind), records in expected.items():
        answer = await resolver.query(name, kind)  # type: ignore[arg-type]
        assert (answer.status, set(answer.records), answer.secure) == ("ok", records, secure), (name, kind)
        assert 0 < answer.ttl <= 300
    assert (await resolver.query(f"alias.{domain}", "A")).canonical == f"mx1.{domain}"


@pytest.mark.parametrize("domain", [SIGNED, UNSIGNED])
async def test_denials(resolver: CachingResolver, domain: str) -> None:
    secure = domain == SIGNED and resolver.engine().validates
    for name, status in ((f"no.{domain}", "nxdomain"), (f"only-a.{domain}", "nodata")):
        answer = await resolver.query(name, "AAAA")
        assert (answer.status, answer.records, answer.secure) == (status, (), secure), name
    assert (await resolver.query("nowhere.invalid", "A")).status == "nxdomain"


async def test_what_fails_validation_is_never_used(resolver: CachingResolver) -> None:
    answer = await resolver.query(f"mx.{BOGUS}", "A")
    assert (answer.status, answer.records) == ("bogus" if resolver.engine().validates else "temperror", ())
    with pytest.raises(NoHosts) as raised:
        await mail_hosts(resolver, BOGUS)
    assert (raised.value.enhanced, raised.value.permanent) == ("4.4.3", False)


async def test_aliases_in_a_circle(resolver: CachingResolver) -> None:
    for domain in (SIGNED, UNSIGNED):
        assert (await resolver.query(f"loop1.{domain}", "A")).failed


@pytest.mark.parametrize("domain", [SIGNED, UNSIGNED])
async def test_mail_hosts_of_real_zones(resolver: CachingResolver, domain: str) -> None:
    secure = domain == SIGNED and resolver.engine().validates
    first, second = await mail_hosts(resolver, domain)
    assert (first.name, first.addresses, first.secure) == (f"mx1.{domain}", ("::1", "127.0.0.11"), secure)
    assert (second.name, second.addresses) == (f"mx2.{domain}", ("127.0.0.12",))
    (only,) = await mail_hosts(resolver, f"only-a.{domain}")
    assert (only.name, only.addresses, only.secure) == (f"only-a.{domain}", ("127.0.0.13",), secure)
    (by_alias,) = await mail_hosts(resolver, f"via-alias.{domain}")
    assert (by_alias.name, by_alias.canonical, by_alias.secure) == (f"alias.{domain}", f"mx1.{domain}", secure)
    refusals = {"null": "556 5.1.10", "homeless": "550 5.4.4", "no": "550 5.1.2"}
    for name, refusal in refusals.items():
        with pytest.raises(NoHosts, match=f"^{refusal} "):
            await mail_hosts(resolver, f"{name}.{domain}")


async def test_the_reverse_name_of_a_private_network(resolver: CachingResolver) -> None:
    assert (await resolver.query("1.0.0.10.in-addr.arpa", "PTR")).records == (f"mx1.{UNSIGNED}",)
    assert await reverse_name_fault(resolver, "10.0.0.1", f"mx1.{UNSIGNED}")  # it does not lead back
    assert await reverse_name_fault(resolver, "10.0.0.2", f"mx1.{UNSIGNED}")


async def test_an_answer_is_asked_for_again_when_its_time_is_over(resolver: CachingResolver) -> None:
    name = f"short.{UNSIGNED}"  # its ttl is 1
    assert (await resolver.query(name, "A")).ok
    await asyncio.sleep(1.1)
    assert (await resolver.query(name, "A")).ok


@pytest.mark.parametrize("engine", [UNBOUND, "cares"])
async def test_a_resolver_that_dies_or_stalls_and_comes_back(tmp_path: Path, engine: str) -> None:
    """What is in the cache goes on; the rest is `temperror` by the deadline, and good again once the server is."""
    with DnsServers(tmp_path / "dns") as servers:
        resolver = opened(servers, engine, timeout=1.0)
        assert (await resolver.query(SIGNED, "MX")).ok
        for number, (stop, resume) in enumerate(
            ((servers.kill_unbound, servers.start_unbound), (servers.stall_unbound, servers.resume_unbound))
        ):
            stop()
            began = time.monotonic()
            names = [f"{name}{number}.{UNSIGNED}" for name in "abcdefgh"]
            answers = await asyncio.gather(*(resolver.query(name, "A") for name in names))
            assert {answer.status for answer in answers} == {"temperror"}
            assert time.monotonic() - began < 2.0
            assert (await resolver.query(SIGNED, "MX")).ok
            resume()
            end = time.monotonic() + 40
            for attempt in range(1000):
                answer = await resolver.query(f"back{attempt}-{number}.{SIGNED}", "A")
                if answer.status == "nxdomain":
                    break
                assert answer.status == "temperror"
                assert time.monotonic() < end, "the resolver did not notice that its server is back"
                await asyncio.sleep(0.2)
        await resolver.close()


@pytest.mark.skipif(bool(missing_library()), reason="libunbound8 is not installed")
async def test_an_old_root_key_stops_no_mail_unless_the_operator_wants_it(tmp_path: Path) -> None:
    """The chain of trust cannot begin: `auto` goes on unvalidated, `unbound` says bogus."""
    with DnsServers(tmp_path / "dns") as servers:
        old = tmp_path / "old.ds"
        old.write_text(". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n")
        for engine, status in (("auto", "ok"), ("unbound", "bogus")):
            resolver = open_resolver(
                engine=engine,  # type: ignore[arg-type]
                servers=[servers.resolver],
                trust_anchor=str(old),
            )
            answer = await resolver.query(UNSIGNED, "MX")
            assert (answer.status, answer.secure) == (status, False)
            await resolver.close()


@pytest.mark.parametrize("engine", [UNBOUND, "cares"])
async def test_names_for_tests_and_homes_are_the_servers_affair(tmp_path: Path, engine: str) -> None:
    """libunbound by itself would say that there are no such names (RFC 6761, RFC 8375)."""
    names = ("peer.test", "nas.home.arpa", "mail.lan", "mail.internal")
    with DnsServers(tmp_path / "dns", tuple(Zone(name, "@ IN A 127.0.0.7\n") for name in names)) as servers:
        resolver = opened(servers, engine)
        assert [(await resolver.query(name, "A")).records for name in names] == [("127.0.0.7",)] * 4
        await resolver.close()


@pytest.mark.skipif(bool(missing_library()), reason="libunbound8 is not installed")
async def test_a_zone_of_one_s_own_is_taken_unvalidated_when_it_is_named(tmp_path: Path) -> None:
    """Its keys are none that its parent knows of; the rest is validated as before."""
    zones = (Zone("corp.example", "@ IN A 127.0.0.5\n", signed=True, tampered=("127.0.0.5", "127.0.0.6")),)
    with DnsServers(tmp_path / "dns", zones, validate=False) as servers:
        options = {"engine": "unbound", "servers": [servers.resolver], "trust_anchor": str(servers.anchor)}
        for insecure, status, records in ((), "bogus", ()), (("corp.example",), "ok", ("127.0.0.6",)):
            resolver = open_resolver(**options, insecure=insecure)  # type: ignore[arg-type]
            answer = await resolver.query("corp.example", "A")
            assert (answer.status, answer.records, answer.secure) == (status, records, False)
            assert (await resolver.query("other.example", "A")).secure
            await resolver.close()


def test_a_server_says_who_asks_and_starts_without_a_resolver(tmp_path: Path) -> None:
    """Also where nothing answers on the DNS port, and on a machine without libunbound (here: c-ares by setting)."""
    for engine, name in (("auto", "libunbound" if not missing_library() else "c-ares"), ("cares", "c-ares")):
        env = {"SMTP_DNS_SERVERS": "127.0.0.1@9", "SMTP_DNS_ENGINE": engine}
        running = Running(tmp_path / engine, env=env).start()
        assert running.stop() == 0
        lines = [line for line in running.log.read_text().splitlines() if "DNS: " in line]
        assert len(lines) == 1
        assert f"DNS: {name}" in lines[0]
        assert "127.0.0.1@9" in lines[0]
        assert ("without DNSSEC validation" in lines[0]) == (name == "c-ares")
