"""APPEND: literals of every kind, refusals, large messages, connections that end in the middle."""

import asyncio
import random
import re


async def test_append_with_flags_and_date(house):
    async with house() as h:
        c = await h.login("INBOX")
        told, tagged = await c.do('APPEND INBOX (\\Seen todo) "17-Jul-1996 02:44:25 -0700" {}', b"a: 1\r\n\r\nx")
        assert re.match(rb"OK \[APPENDUID \d+ 1\] APPEND", tagged)
        assert b"1 EXISTS" in told
        (response,) = await c.ok("FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])")
        assert b"FLAGS (\\Seen \\Recent todo)" in response
        assert b'INTERNALDATE "17-Jul-1996 09:44:25 +0000"' in response
        assert response.endswith(b"{9}\r\na: 1\r\n\r\nx)")


async def test_a_literal_that_does_not_wait(house):
    async with house() as h:
        c = await h.login()
        await c.send(b"x APPEND Drafts {9+}\r\na: 1\r\n\r\nx\r\ny STATUS Drafts (MESSAGES)\r\n")
        assert (await c.until(b"x"))[-1].startswith(b"x OK [APPENDUID ")
        assert (await c.until(b"y"))[0] == b"* STATUS Drafts (MESSAGES 1)"


async def test_refusals_before_the_literal_is_sent(house):
    async with house(max_message_size=2000) as h:
        c = await h.login()
        assert b"NO [TRYCREATE]" in await c.refused("APPEND Nowhere {}", b"x" * 10)
        assert b"[TOOBIG]" in await c.refused("APPEND INBOX {}", b"x" * 2001)
        assert (await c.refused("APPEND INBOX {}", b"")).startswith(b"NO")
        await c.send(b"x APPEND Nowhere {5+}\r\nabcde\r\ny NOOP\r\n")
        assert (await c.response()).startswith(b"x NO [TRYCREATE]")
        assert (await c.response()).startswith(b"y OK")
        h.node.disk.full()
        assert b"NO [UNAVAILABLE]" in await c.refused("APPEND INBOX {}", b"x" * 10)


async def test_a_command_that_is_wrong_after_its_literal_stores_nothing(house):
    async with house() as h:
        c = await h.login()
        await c.send(b"x APPEND INBOX {5+}\r\nabcde and more\r\n")
        assert (await c.response()).startswith(b"x BAD")
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
        assert h.node.memory.used == 0


async def test_a_mailbox_that_goes_while_the_literal_comes(house):
    async with house() as h:
        c, other = await h.login(), await h.login()
        await c.ok("CREATE Soon")
        await c.send(b"x APPEND Soon {5}\r\n")
        assert (await c.response()).startswith(b"+ ")
        await other.ok("DELETE Soon")
        await c.send(b"abcde\r\n")
        assert (await c.response()).startswith(b"x NO [TRYCREATE]")


async def test_a_large_message_goes_through_the_store_in_chunks(house):
    async with house() as h:
        message = b"a: 1\r\n\r\n" + random.Random(3).randbytes(2_500_000).replace(b"\0", b"0")
        c = await h.login("INBOX")
        await c.ok("APPEND INBOX {}", message)
        assert h.node.memory.used == 0
        (response,) = await c.ok("FETCH 1 BODY.PEEK[]")
        assert message in response


async def test_a_connection_that_ends_in_the_literal_leaves_nothing(house):
    async with house() as h:
        c = await h.login("INBOX")
        await c.send(b"x APPEND INBOX {3000000}\r\n")
        await c.response()
        await c.send(random.Random(4).randbytes(1_500_000))
        await asyncio.sleep(0.05)
        c.writer.transport.abort()
        await h.closed()
        for _ in range(200):
            left = await h.node.store.scan(lambda tx: tx.row("SELECT count(*) FROM blobs")[0])
            if not left and not h.node.memory.used:
                break
            await asyncio.sleep(0.01)
        assert (left, h.node.memory.used) == (0, 0)


async def test_a_drain_lets_an_append_finish(house):
    async with house() as h:
        c = await h.login()
        await c.send(b"x APPEND INBOX {10}\r\n")
        await c.response()
        (session,) = h.node.sessions
        session.leave(now=True)
        await c.send(b"a: 1\r\n\r\nxx\r\n")
        assert (await c.response()).startswith(b"x OK [APPENDUID ")
        assert (await c.response()).startswith(b"* BYE")
        assert await c.ended()


async def test_a_store_that_fails_is_told_and_nothing_is_half_done(house, monkeypatch):
    async with house() as h:
        from pillarbox.store.errors import Busy, Corrupt, Full, StoreError

        c = await h.login("INBOX")
        for error, code in (
            (Busy, b"UNAVAILABLE"),
            (Full, b"UNAVAILABLE"),
            (Corrupt, b"CORRUPTION"),
            (StoreError, b"SERVERBUG"),
        ):

            def fail(*_, error=error, **__):
                raise error("told")

            with monkeypatch.context() as patched:
                patched.setattr("pillarbox.store.messages.append", fail)
                assert (await c.refused("APPEND INBOX {}", b"a: 1\r\n\r\n")).startswith(b"NO [%b]" % code)
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
