"""The warning about reverse names: which addresses are looked at, and that it is said once."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

from empty_store import put_empty_store
from pillarbox.dns import Answer, Kind
from pillarbox.flow.reverse_names import EVERY, FIRST, ReverseNames, own_addresses
from pillarbox.store import open_store
from pillarbox.store.routes import create_route

PUBLIC, PUBLIC6, OTHER = "8.8.8.8", "2606:4700::1", "8.8.4.4"


class Names:
    """A resolver that knows reverse names; every name leads back to every address."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.asked: list[str] = []

    async def query(self, name: str, kind: Kind) -> Answer:
        self.asked.append(name)
        if kind == "PTR":
            found = self.names.get(name)
            return Answer("ok", (found,), 60) if found else Answer("nxdomain", ttl=60)
        return Answer("ok", (PUBLIC, PUBLIC6, OTHER), 60)

    async def close(self) -> None:
        return None


async def test_each_fault_is_said_once_and_a_new_one_again(tmp_path: Path) -> None:
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    names, said = Names(), []
    look = ReverseNames(
        names,
        store,
        lambda: "mail.example",
        addresses=lambda: [PUBLIC, PUBLIC6, "10.0.0.1", "127.0.0.1"],
        warn=said.append,
    )
    assert len(await look.check()) == 2
    assert await look.check() == []
    assert said == [f"{PUBLIC} has no reverse name (PTR)", f"{PUBLIC6} has no reverse name (PTR)"]
    names.names["8.8.8.8.in-addr.arpa"] = "host.example"
    assert await look.check() == [f"the reverse name (PTR) of {PUBLIC} is host.example, not mail.example"]
    names.names["8.8.8.8.in-addr.arpa"] = "mail.example"
    assert await look.check() == []
    assert not any("10.in-addr" in name or "127.in-addr" in name for name in names.asked)
    await store.close()


async def test_routes_have_addresses_and_names_of_their_own(tmp_path: Path) -> None:
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    await store.write(lambda tx: create_route(tx, "a", "mx", source_ipv4=OTHER))
    await store.write(lambda tx: create_route(tx, "b", "mx", ehlo_name="b.example"))
    await store.write(
        lambda tx: create_route(tx, "c", "mx", ehlo_name="c.example", source_ipv4=OTHER, source_ipv6=PUBLIC6)
    )
    look = ReverseNames(Names(), store, lambda: "mail.example", addresses=lambda: [PUBLIC])
    assert set(await look.sources()) == {
        (PUBLIC, "mail.example"),
        (OTHER, "mail.example"),
        (PUBLIC, "b.example"),
        (OTHER, "c.example"),
        (PUBLIC6, "c.example"),
    }
    nameless = ReverseNames(Names(), store, lambda: "localhost", addresses=lambda: [PUBLIC])
    assert {name for _, name in await nameless.sources()} == {"b.example", "c.example"}
    await store.close()


async def test_it_looks_after_the_start_and_once_a_day_and_survives_faults(tmp_path: Path) -> None:
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    slept: list[float] = []
    turns = asyncio.Semaphore(0)
    looked = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        looked.release()
        await turns.acquire()

    def addresses() -> list[str]:
        raise OSError("no network")

    look = ReverseNames(Names(), store, lambda: "mail.example", addresses=addresses, sleep=sleep)
    look.start()
    for _ in range(2):
        await looked.acquire()
        turns.release()
    await looked.acquire()
    await look.stop()
    await look.stop()
    assert slept == [FIRST, EVERY, EVERY]
    await store.close()


def test_own_addresses_are_addresses() -> None:
    found = own_addresses()
    assert [str(ipaddress.ip_address(address)) for address in found] == found
    assert len(found) <= 2
