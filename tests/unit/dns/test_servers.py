"""Which servers are asked, and where validation begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.dns.servers import Server, system_servers
from pillarbox.dns.trust_anchor import ROOT, system_anchors


@pytest.mark.parametrize(
    ("text", "unbound", "cares"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1:53"),
        (" 192.0.2.1@5353 ", "192.0.2.1@5353", "192.0.2.1:5353"),
        ("2001:DB8::1@53", "2001:db8::1", "[2001:db8::1]:53"),
        ("fe80::1%eth0", "fe80::1%eth0", "[fe80::1%eth0]:53"),
    ],
)
def test_servers(text: str, unbound: str, cares: str) -> None:
    server = Server.read(text)
    assert (str(server), server.with_port) == (unbound, cares)


@pytest.mark.parametrize(
    "text", ["", "dns.example", "192.0.2.1:53", "192.0.2.1@", "192.0.2.1@0", "192.0.2.1@x", "@53", "1@70000"]
)
def test_no_servers(text: str) -> None:
    with pytest.raises(ValueError):
        Server.read(text)


def test_the_system_s_servers(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(
        b"# a comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 \nnameserver nonsense\n"
        b"nameserver\noptions edns0\n\xff\xfe\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"
    )
    assert [str(server) for server in system_servers(file)] == ["192.0.2.1", "2001:db8::1", "192.0.2.3"]


@pytest.mark.parametrize("content", [None, "", "nameserver\nsearch x\n"])
def test_without_servers_this_machine_is_asked(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "resolv.conf"
    if content is not None:
        file.write_text(content)
    assert system_servers(file) == (Server("127.0.0.1"),)


def test_anchors_of_the_system_stand_beside_the_built_in(tmp_path: Path) -> None:
    file = tmp_path / "root.key"
    file.write_text(
        "; autotrust trust anchor file\n;;id: . 1\n"
        ". 86400 IN DNSKEY 257 3 8 AwEAAa== ;{id = 1 (ksk)} ;;state=2 [  VALID  ] ;;count=0\n"
        ". 86400 IN DNSKEY 257 3 8 AwEBBB== ;{id = 2 (ksk)} ;;state=1 [ ADDPEND ] ;;count=3\n"
        "example. IN DS 1 8 2 00\n"
    )
    assert system_anchors((tmp_path / "missing", file)) == (*ROOT, ". 86400 IN DNSKEY 257 3 8 AwEAAa==")
    assert system_anchors((tmp_path / "missing",)) == ROOT
    empty = tmp_path / "empty"
    empty.write_text("; nothing\n")
    assert system_anchors((empty, file)) == system_anchors((file,))
