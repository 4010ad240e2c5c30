"""The PROXY header in front of a connection."""

import asyncio
import ipaddress
import socket
import struct

import pytest

from pillarbox.access.limits import Role
from pillarbox.session import entrance

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 25\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH4s4sHH", 0x21, 0x11, 12, b"\xc0\0\2\7", b"\xc0\0\2\1", 40000, 25)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20, 0, 0)


@pytest.mark.parametrize(("header", "address"), [(V1, "192.0.2.7"), (V2, "192.0.2.7"), (LOCAL, "127.0.0.1")])
@pytest.mark.parametrize("step", [1, 1000])
async def test_the_client_is_who_the_header_says(house, header, address, step):
    async with house(proxy_networks=LOOPBACK) as h:
        client = await h.connect()
        whole = header + b"EHLO client.example.org\r\n"
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(whole), step):
            await client.send(whole[at : at + step])
        assert (await client.reply()).startswith("220")
        assert (await client.reply()).startswith("250")
        assert (await client.message("", "ada@example.com")).startswith("250")
        (message,) = await h.mail("ada@example.com")
        assert f"([{address}])".encode() in message
        (session,) = h.node.sessions
        assert session.peer.address == address
        assert h.node.limiter.connections("192.0.2.7") == (address == "192.0.2.7")


async def test_without_the_header_nobody_gets_in(house):
    async with house(proxy_networks=LOOPBACK) as h:
        client = await h.connect()
        await client.send(b"EHLO x\r\n")
        with pytest.raises(ConnectionResetError):
            await client.reply()
        assert not h.node.sessions


async def test_a_header_that_does_not_come_has_a_deadline(house, monkeypatch):
    monkeypatch.setattr(entrance, "PROXY_PATIENCE", 0.0)
    async with house(proxy_networks=LOOPBACK) as h:
        client = await h.connect()
        with pytest.raises(ConnectionResetError):
            await client.reply()


async def test_only_listed_networks_are_believed(house):
    async with house(proxy_networks=(ipaddress.ip_network("10.0.0.0/8"),)) as h:
        client = await h.connect()
        assert (await client.reply()).startswith("220")
        assert (await client.say(V1[:-2].decode())).startswith("500")


async def test_the_header_comes_before_tls(house, server_tls, client_tls):
    async with house(proxy_networks=LOOPBACK, tls=server_tls) as h:
        port = await h.listen(implicit_tls=True)
        client = await h.connect(port=port)
        await client.send(V2)
        await client.writer.start_tls(client_tls)
        assert (await client.reply()).startswith("220")
        (session,) = h.node.sessions
        assert session.peer.address == "192.0.2.7"
        assert session.secured is not None


async def gathered(many):
    for _ in range(500):
        if entrance.entering() == many:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{entrance.entering()} at the entrance")


async def test_a_stop_tells_whose_header_has_not_come(house):
    async with house(proxy_networks=LOOPBACK) as h:
        client = await h.connect()
        await gathered(1)
        h.node.draining = True
        entrance.turn_away()
        assert (await client.reply()).startswith("421 4.3.2")
        assert await client.ended()
        await gathered(0)


async def test_a_stop_ends_handshakes_that_do_not_come(house, server_tls):
    async with house(proxy_networks=LOOPBACK, tls=server_tls) as h:
        port = await h.listen(Role.SUBMISSION, implicit_tls=True)
        clients = [await h.connect(port=port) for _ in range(2)]
        await clients[1].send(V1 + b"\x16\x03\x01")
        await gathered(2)
        await asyncio.sleep(0.05)
        h.node.draining = True
        entrance.turn_away()
        await gathered(0)
        assert not h.node.sessions
        assert h.node.limiter.connections("192.0.2.7") == 0
