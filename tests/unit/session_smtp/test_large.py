"""Large messages: memory stays within the budget, and who sends faster than we store has to wait."""

import asyncio

from pillarbox.store import blobs

PIECE = b"0123456789abcde\r\n" * 3855  # 64 KiB, roughly
COUNT = 24


async def send_large(client, sender, recipient):
    assert (await client.transaction(sender, recipient)).startswith("354")
    for _ in range(COUNT):
        await client.send(PIECE)
    await client.send(b".\r\n")
    return await client.reply()


async def test_many_large_messages_at_once_stay_within_the_budget(house):
    async with house(memory_budget=2 << 20, connections_per_ip=100) as h:
        port = await h.listen()
        used = []

        async def one(number):
            client = await h.connect(port=port)
            await client.reply()
            await client.say("EHLO x")
            reply = await send_large(client, f"s{number}@example.org", "ada@example.com")
            used.append(h.node.memory.used)
            return reply

        replies = await asyncio.gather(*(one(number) for number in range(20)))
        assert all(reply.startswith("250") for reply in replies)
        assert max(used) <= 2 << 20
        messages = await h.mail("ada@example.com")
        assert len(messages) == 20
        assert all(message.endswith(PIECE * COUNT) for message in messages)


async def test_while_a_chunk_is_on_its_way_nothing_is_read(house, monkeypatch):
    async with house(max_message_size=20 << 20) as h:
        go, write = asyncio.Event(), h.node.store.write

        def slow(fn, *args, **kw):
            async def later():
                await go.wait()
                return await write(fn, *args, **kw)

            return asyncio.ensure_future(later())

        client = await h.greeted()
        await client.transaction("", "ada@example.com")
        monkeypatch.setattr(h.node.store, "write", slow)
        sending = asyncio.ensure_future(client.send(PIECE * 200 + b".\r\n"))  # 12 MiB
        (session,) = h.node.sessions
        while not session._paused:
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        assert session._paused
        assert session.core.buffered < 1 << 20
        assert h.node.memory.used < 2 << 20
        assert not sending.done()
        go.set()
        await sending
        assert (await client.reply()).startswith("250")


async def test_of_a_message_that_is_too_large_nothing_is_kept_while_the_rest_of_it_comes(house):
    async with house(max_message_size=1 << 20) as h:
        client = await h.greeted()
        await client.transaction("", "ada@example.com")
        for _ in range(COUNT):
            await client.send(PIECE)
        while not next(iter(h.node.sessions)).core.fault:
            await asyncio.sleep(0.001)
        while h.node.memory.used or (await h.rows("SELECT count(*) FROM blobs"))[0][0]:
            await asyncio.sleep(0.001)
        await client.send(b".\r\n")
        assert (await client.reply()).startswith("552 5.3.4")


async def test_a_connection_that_breaks_in_a_large_message_frees_its_chunks(house):
    async with house() as h:
        client = await h.greeted()
        await client.transaction("", "ada@example.com")
        for _ in range(COUNT):
            await client.send(PIECE)
        while not (await h.rows("SELECT count(*) FROM blob_chunks"))[0][0]:
            await asyncio.sleep(0.001)
        client.writer.transport.abort()
        while (await h.rows("SELECT count(*) FROM blobs"))[0][0]:
            await asyncio.sleep(0.001)
        assert await h.rows("SELECT count(*) FROM blob_chunks") == [(0,)]
        assert await h.node.store.scan(blobs.free_unfinished, lambda owner: False) == 0
