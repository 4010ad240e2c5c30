"""The world: a resolver on port 53, Postfix, Exim, a sink, and Pillarbox on port 25 of its own address.

Collected only inside the namespaces that `tests/system/test_world.py` makes.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dns_servers import DnsServers, Zone
from peers import EXIM_ROOT, Exim, Postfix, Sink, let_pass
from world_server import ADA, BOB, PASSWORD, Ours

if "PILLARBOX_WORLD" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

ZONES = (
    Zone("ours.example", '@ MX 10 mx\nmx A 127.0.0.1\n@ TXT "v=spf1 mx -all"\n', signed=True),
    Zone("postfix.example", "@ MX 10 mx\nmx A 127.0.0.11\n", signed=True),
    Zone("exim.example", "@ MX 10 mx\nmx A 127.0.0.12\n"),
    Zone("sink.example", "@ MX 10 mx\nmx A 127.0.0.13\nmx AAAA fd00::1\n"),
    Zone("second.example", "@ MX 10 dead\n@ MX 20 mx.postfix.example.\ndead A 127.0.0.15\n", signed=True),
    Zone("null.example", "@ MX 0 .\n"),
    Zone("bogus.example", "@ MX 10 mx\nmx A 127.0.0.66\n", signed=True, tampered=("127.0.0.66", "127.0.0.11")),
    Zone("strict.example", '@ MX 10 mx.postfix.example.\n@ TXT "v=spf1 mx -all"\n'),
    Zone("127.in-addr.arpa", "1.0.0 PTR mx.ours.example.\n11.0.0 PTR mx.postfix.example.\n"),
)


@pytest.fixture(scope="session")
def dns(tmp_path_factory) -> Iterator[DnsServers]:
    with DnsServers(tmp_path_factory.mktemp("dns"), ZONES, port=53) as servers:
        yield servers


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    let_pass(folder)
    return folder


@pytest.fixture(scope="session")
def postfix(base, dns) -> Iterator[Postfix]:
    peer = Postfix(base / "postfix", "127.0.0.11", "postfix.example", extra="virtual_alias_domains =")
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture(scope="session")
def exim(base, dns) -> Iterator[Exim]:
    if EXIM_ROOT not in os.environ:
        pytest.skip("Exim's packages could not be fetched")
    peer = Exim(base / "exim", "127.0.0.12", "exim.example")
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def sink(tmp_path, base):
    """`sink(*options)` starts smtp-sink, in place of the one before."""
    started: list[Sink] = []

    def start(*options: str) -> Sink:
        for peer in started:
            peer.stop()
        started.append(Sink(base / f"sink-{uuid.uuid4().hex}", "127.0.0.13", *options))
        started[-1].start()
        return started[-1]

    yield start
    for peer in started:
        peer.stop()


@pytest.fixture(scope="session")
def ours(base, dns) -> Iterator[Ours]:
    server = Ours(base / "ours", dns)
    server.folder.mkdir()
    server.run("pillarbox", "domain", "add", "ours.example")
    for account in (ADA, BOB):
        server.run("pillarbox", "user", "add", account, "--password-stdin", text=PASSWORD)
    server.start()
    yield server
    assert server.stop() == 0, server.words()
    server.run("pillarbox", "check")
