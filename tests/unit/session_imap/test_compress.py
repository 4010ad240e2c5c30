"""COMPRESS=DEFLATE (RFC 4978): both directions, bombs, broken streams, and the end of it."""

import random
import socket
import zlib

from house import MESSAGE
from pillarbox.session.compression import PIECE, Compression


class Squeezed:
    """The client's side: a reader and a writer over those of the connection."""

    def __init__(self, client):
        self.reader, self.writer = client.reader, client.writer
        self.inflate = zlib.decompressobj(-15)
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.here = b""

    def write(self, data):
        self.writer.write(self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH))

    async def drain(self):
        await self.writer.drain()

    def close(self):
        self.writer.close()

    async def more(self):
        data = await self.reader.read(65536)
        assert data, "the server has closed"
        self.here += self.inflate.decompress(data)

    async def readuntil(self, end):
        while end not in self.here:
            await self.more()
        line, _, self.here = self.here.partition(end)
        return line + end

    async def readexactly(self, size):
        while len(self.here) < size:
            await self.more()
        piece, self.here = self.here[:size], self.here[size:]
        return piece


async def compressed(h, mailbox="INBOX"):
    client = await h.login(mailbox)
    assert await client.done("COMPRESS DEFLATE") == b"OK DEFLATE begins now"
    client.reader = client.writer = Squeezed(client)
    return client


async def test_both_directions(house):
    async with house() as h:
        c = await compressed(h)
        big = b"a: 1\r\n\r\n" + random.Random(1).randbytes(700_000).replace(b"\0", b"0")
        await c.ok("APPEND INBOX {}", big)
        await c.ok("APPEND INBOX {}", b"a: 2\r\n\r\n" + b"x" * 900_000)
        one, two = await c.ok("FETCH 1:2 BODY.PEEK[]")
        assert one.endswith(big + b")")
        assert two.endswith(b"x" * 900_000 + b")")
        assert b"[COMPRESSIONACTIVE]" in await c.refused("COMPRESS DEFLATE")
        await c.send(b"i IDLE\r\n")
        assert (await c.response()).startswith(b"+ ")
        await h.put(MESSAGE)
        assert await c.response() == b"* 3 EXISTS"
        await c.send(b"DONE\r\n")
        assert (await c.until(b"i"))[-1].startswith(b"i OK")


async def test_only_deflate_and_only_after_the_login(house):
    async with house() as h:
        c = await h.connect()
        await c.response()
        assert (await c.refused("COMPRESS DEFLATE")).startswith(b"BAD")
        await c.ok("LOGIN ada@example.com secret")
        assert (await c.refused("COMPRESS LZW")).startswith(b"BAD")


async def test_a_bomb_is_expanded_only_as_it_is_understood(house):
    async with house() as h:
        c = await compressed(h, None)
        await c.send(b"a NOOP " + b"x" * 200_000_000 + b"\r\nb NOOP\r\n")
        assert (await c.response()).startswith(b"a BAD [TOOBIG]")
        assert (await c.response()).startswith(b"b OK")
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = squeeze.compress(b"x" * 50_000_000) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        stream = Compression()
        stream.hold(bomb)
        pieces = 0
        while piece := stream.incoming():
            assert len(piece) <= PIECE
            pieces += len(piece)
        assert pieces == 50_000_000


async def test_a_stream_that_is_none_ends_the_connection(house):
    async with house() as h:
        c = await compressed(h)
        c.writer.writer.write(b"\xff\xff\xff\xff NOOP\r\n")
        await h.closed()
        assert await c.reader.reader.read() == b""
        again = await h.login("INBOX")
        assert await again.ok("NOOP") == []


async def test_it_ends_with_the_login(house):
    async with house() as h:
        c = await compressed(h)
        await c.ok("UNAUTHENTICATE")
        c.reader, c.writer = c.reader.reader, c.writer.writer
        await c.ok("LOGIN bob@example.com secret")
        (session,) = h.node.sessions
        assert session.compression is None
        assert await c.ok("NOOP") == []


async def test_the_kernel_asks_whether_a_silent_client_is_there(house):
    async with house() as h:
        await h.login()
        (session,) = h.node.sessions
        sock = session.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 240
