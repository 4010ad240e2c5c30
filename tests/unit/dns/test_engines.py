"""Both engines against a server that is rough: silent, broken, lying. Each question ends in an answer, in time."""

from __future__ import annotations

import asyncio
import random
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pillarbox.dns import CachingResolver, open_resolver
from pillarbox.dns.answer import Status
from pillarbox.dns.unbound_library import missing_library

sys.path.insert(0, str(Path(__file__).parent))
from rough_server import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Reply, RoughServer, answer, asked, record, wire

DEADLINE = 0.5
A, CNAME, SOA, MX, TXT, AAAA = 1, 5, 6, 15, 16, 28
MINIMUM = record(
    "example", SOA, wire("ns.example") + wire("admin.example") + struct.pack(">IIIII", 1, 1, 1, 1, 77), 900
)

ENGINES = [
    pytest.param("unbound", marks=pytest.mark.skipif(bool(missing_library()), reason="libunbound8 is not installed")),
    "cares",
]
Ask = Callable[[Reply], Awaitable[CachingResolver]]


@pytest.fixture(params=ENGINES)
async def ask(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ask]:
    """A resolver that asks a server of the test's own; validation begins at a zone that nobody asks for."""
    anchor = tmp_path / "anchor"
    anchor.write_text("signed.invalid. IN DS 1 8 2 " + "00" * 32 + "\n")
    opened: list[tuple[RoughServer, CachingResolver]] = []

    async def start(reply: Reply) -> CachingResolver:
        server = await RoughServer(reply).__aenter__()
        resolver = open_resolver(
            engine=request.param, servers=[server.address], trust_anchor=str(anchor), timeout=DEADLINE
        )
        opened.append((server, resolver))
        return resolver

    yield start
    for server, resolver in opened:
        await resolver.close()
        await server.__aexit__()


async def test_records_of_all_sorts(ask: Ask) -> None:
    def reply(question: bytes) -> bytes:
        _, kind = asked(question)
        found = {
            A: [b"\xc0\0\2\1", b"\xc0\0\2\2"],
            MX: [b"\0\x14" + wire("MX2.example"), b"\0\x0a" + wire("mx1.Example")],
            TXT: [b"\2v=\4spf1", b"\3\xe9\0\xff"],
        }[kind]
        return answer(question, *(record("", kind, data, 120) for data in found))

    resolver = await ask(reply)
    addresses = await resolver.query("a.example", "A")
    assert sorted(addresses.records) == ["192.0.2.1", "192.0.2.2"]
    assert (addresses.ttl, addresses.secure, addresses.canonical) == (120, False, "a.example")
    assert sorted((await resolver.query("a.example", "MX")).records) == [(10, "mx1.example"), (20, "mx2.example")]
    assert sorted((await resolver.query("a.example", "TXT")).records) == [b"v=spf1", b"\xe9\0\xff"]


async def test_denials_hold_as_long_as_the_zone_says(ask: Ask) -> None:
    """RFC 2308: the SOA's minimum. c-ares keeps it by itself: our cache sees 0, and the server one question."""
    questions = []

    def reply(question: bytes) -> bytes:
        questions.append(asked(question))
        return answer(question, code=NXDOMAIN if asked(question)[0].startswith("no") else 0, authority=MINIMUM)

    resolver = await ask(reply)
    for name, status in (("no.example", "nxdomain"), ("yes.example", "nodata")):
        for _ in range(3):
            found = await resolver.query(name, "A")
            assert found.status == status
            assert found.ttl in (0, 76, 77)
    assert sorted(set(questions)) == [("no.example", A), ("yes.example", A)]
    assert len(questions) == 2


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED, FORMERR, NOTIMP])
async def test_a_server_that_cannot_tell(ask: Ask, code: int) -> None:
    resolver = await ask(lambda question: answer(question, code=code))
    found = await resolver.query("a.example", "A")
    assert found.status == "temperror"
    assert found.reason


def other_id(question: bytes) -> bytes:
    return bytes([question[0] ^ 1, question[1]]) + answer(question, record("", A, b"\1\2\3\4"))[2:]


def other_name(question: bytes) -> bytes:
    packet = bytearray(answer(question, record("", A, b"\1\2\3\4")))
    packet[13] ^= 1
    return bytes(packet)


ROUGH: dict[str, Reply] = {
    "silent": lambda question: None,
    "empty": lambda question: b"",
    "only the id": lambda question: question[:2],
    "half": lambda question: answer(question, record("", A, b"\1\2\3\4"))[:-3],
    "noise": lambda question: question[:2] + random.Random(len(question)).randbytes(200),
    "the question itself": lambda question: question,
    "another id": other_id,
    "another name": other_name,
    "promises more records": lambda question: answer(question)[:6] + b"\xff\xff" + answer(question)[8:],
    "a name that points at itself": lambda question: answer(question, b"\xc0\x1e" + struct.pack(">HHIH", A, 1, 1, 4)),
    "a short address": lambda question: answer(question, record("", A, b"\1\2\3")),
    "cut off, and no TCP": lambda question: answer(question, flags=0x8380),
}


@pytest.mark.parametrize("reply", ROUGH.values(), ids=ROUGH.keys())
async def test_rough_answers_are_no_records_and_no_delay(ask: Ask, reply: Reply) -> None:
    resolver = await ask(reply)
    began = time.monotonic()
    found = await resolver.query("a.example", "A")
    # c-ares takes a question that comes back for an answer without records.
    assert found.status == "temperror" or (found.status == "nodata" and reply is ROUGH["the question itself"])
    assert found.records == ()
    assert time.monotonic() - began < DEADLINE + 2


async def test_aliases_are_followed_and_loops_end(ask: Ask) -> None:
    def reply(question: bytes) -> bytes:
        name, _ = asked(question)
        number = name.partition(".")[0].removeprefix("n")
        if name == "end.example":
            return answer(question, record("", A, b"\xc0\0\2\1", 50))
        if name == "loop.example":
            return answer(question, record("", CNAME, wire("loop.example")))
        if name == "ping.example" or name == "pong.example":
            return answer(question, record("", CNAME, wire("pong.example" if "ping" in name else "ping.example")))
        if name == "alias.example":
            return answer(question, record("", CNAME, wire("End.example"), 40))
        if name == "empty.example":
            return answer(question, record("", CNAME, wire("nothing.example")), authority=MINIMUM)
        if name == "nothing.example":
            return answer(question, authority=MINIMUM)
        return answer(question, record("", CNAME, wire(f"n{int(number) + 1}.example")))  # never ends

    resolver = await ask(reply)
    found = await resolver.query("alias.example", "A")
    assert (found.records, found.canonical) == (("192.0.2.1",), "end.example")
    assert found.ttl <= 40
    assert (await resolver.query("empty.example", "A")).status == "nodata"
    for name in ("loop.example", "ping.example", "n1.example"):
        assert (await resolver.query(name, "A")).status in ("temperror", "nodata"), name


@pytest.mark.parametrize("status", ["ok", "nodata"])
async def test_records_of_others_are_not_taken(ask: Ask, status: Status) -> None:
    """What stands under another name, or is of another kind, is no answer to the question."""

    def reply(question: bytes) -> bytes:
        records = [record("bank.example", A, b"\6\6\6\6"), record("", TXT, b"\3bad")]
        if status == "ok":
            records.append(record("", A, b"\xc0\0\2\1"))
        return answer(question, *records)

    found = await (await ask(reply)).query("a.example", "A")
    assert found.records in ((), ("192.0.2.1",))
    assert found.status == status or not found.records


async def test_a_flood_of_records_is_bounded(ask: Ask) -> None:
    def reply(question: bytes) -> bytes:
        return answer(question, *(record("", A, bytes([10, 0, n >> 8, n & 255])) for n in range(280)))

    found = await (await ask(reply)).query("a.example", "A")
    assert len(found.records) <= 256


async def test_giving_up_and_closing_with_questions_under_way(ask: Ask) -> None:
    resolver = await ask(lambda question: None)
    tasks = [asyncio.create_task(resolver.query(f"n{number}.example", "A")) for number in range(20)]
    await asyncio.sleep(0.05)
    for task in tasks[:10]:
        task.cancel()
    await resolver.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[:10])
    assert {result.status for result in results[10:] if not isinstance(result, BaseException)} == {"temperror"}


async def test_names_with_odd_characters_go_to_the_server_as_they_are(ask: Ask) -> None:
    seen = []

    def reply(question: bytes) -> bytes:
        seen.append(asked(question)[0])
        return answer(question, record("", A, b"\xc0\0\2\1"))

    resolver = await ask(reply)
    for name in ("strong+bad=x/24._spf.example", "_25._tcp.mx.example", "*.example", 'a"b;(c)@$.example'):
        found = await resolver.query(name, "A")
        assert found.ok or found.status == "nxdomain"  # c-ares refuses some
        assert not found.ok or seen[-1] == name
