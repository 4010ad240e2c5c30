"""One server for all system tests of a run."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dns_servers import DnsServers, missing
from nodes import Database, nodes
from running import Running


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("system") / "data").start()
    yield running
    assert running.stop() == 0
    left = sorted(path.name for path in running.data.glob("smtp.db-*"))
    assert left == [], "a clean stop leaves no WAL behind"


@pytest.fixture(scope="session")
def dns(tmp_path_factory):
    """nsd and unbound with a signed and an unsigned zone, on ports of loopback; see `dns_servers`."""
    if reason := missing():
        pytest.skip(reason)
    with DnsServers(tmp_path_factory.mktemp("dns")) as servers:
        yield servers


@pytest.fixture(scope="module")
def database(postgres_server, tmp_path_factory):
    """Of nodes on PostgreSQL."""
    return Database(postgres_server.new_schema(), tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="module")
def pair(database):
    with nodes(database, "one", "two") as two:
        yield two
