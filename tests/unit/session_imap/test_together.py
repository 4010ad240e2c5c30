"""Sessions that see each other's changes: in one worker, over two, in IDLE, after a lost hint."""

import asyncio
import re

from pillarbox.imap.flags import SEEN
from pillarbox.store import Tx, mailboxes


async def idle(client):
    """Enter IDLE."""
    await client.send(b"i IDLE\r\n")
    while not (await client.response()).startswith(b"+ "):
        pass


async def done(client):
    """Leave IDLE; what was told at last."""
    await client.send(b"DONE\r\n")
    *told, tagged = await client.until(b"i")
    assert tagged.startswith(b"i OK")
    return told


async def test_news_come_at_the_end_of_commands(house):
    async with house() as h:
        await h.put(b"n: 1\r\n\r\n", b"n: 2\r\n\r\n", b"n: 3\r\n\r\n")
        a, b = await h.login("INBOX"), await h.login("INBOX")
        await a.ok("STORE 1 +FLAGS (\\Flagged)")
        assert await b.ok("NOOP") == [b"1 FETCH (UID 1 FLAGS (\\Flagged))"]
        assert await b.ok("NOOP") == []
        await a.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
        await a.ok("EXPUNGE")
        await h.put()
        assert await b.ok("CHECK") == [b"2 EXPUNGE", b"3 EXISTS", b"1 RECENT"]
        assert b"3 EXISTS" in await a.ok("NOOP")
        await b.ok("APPEND INBOX {}", b"a: 1\r\n\r\n")
        assert b"4 EXISTS" in await a.ok("NOOP")


async def test_numbers_stay_while_commands_use_them(house):
    async with house() as h:
        await h.put(b"n: 1\r\n\r\n", b"n: 2\r\n\r\n", b"n: 3\r\n\r\n")
        a, b = await h.login("INBOX"), await h.login("INBOX")
        await a.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await a.ok("EXPUNGE")
        await h.put()
        assert b"4 EXISTS" in await b.ok("FETCH 3 UID")  # four with the one that is gone
        assert await b.ok("FETCH 1:* UID") == [b"%d FETCH (UID %d)" % (n, n) for n in (1, 2, 3, 4)]
        assert b"1 EXPUNGE" in await b.ok("NOOP")
        assert await b.ok("FETCH 1:* UID") == [b"%d FETCH (UID %d)" % (n, n + 1) for n in (1, 2, 3)]


async def test_idle_is_told_at_once(house):
    async with house() as h:
        await h.put()
        c, other = await h.login("INBOX", enable="IMAP4rev2"), await h.login("INBOX")
        await idle(c)
        await h.put()
        assert await c.response() == b"* 2 EXISTS"
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        assert await c.response() == b"* 1 FETCH (UID 1 FLAGS (\\Deleted))"
        await other.ok("EXPUNGE")
        assert await c.response() == b"* 1 EXPUNGE"
        assert await done(c) == []


async def test_idle_begins_with_what_waits_and_ends_with_anything_but_done_as_an_error(house):
    async with house() as h:
        await h.put()
        c = await h.login("INBOX", enable="IMAP4rev2")
        await h.put()
        await c.send(b"i IDLE\r\n")
        assert (await c.response()).startswith(b"+ ")
        assert await c.response() == b"* 2 EXISTS"
        await c.send(b"x NOOP\r\n")
        assert (await c.response()).startswith(b"i BAD")
        await c.ok("NOOP")


async def test_idle_without_a_mailbox(house):
    async with house() as h:
        c = await h.login()
        await idle(c)
        await h.put()
        assert await done(c) == []


async def test_idle_with_qresync_says_vanished(house):
    async with house() as h:
        await h.put(b"n: 1\r\n\r\n", b"n: 2\r\n\r\n")
        c, other = await h.login("INBOX", enable="QRESYNC IMAP4rev2"), await h.login("INBOX")
        await idle(c)
        await other.ok("STORE 1:2 +FLAGS (\\Deleted)")
        for _ in range(2):
            assert re.fullmatch(rb"\* \d FETCH \(UID \d FLAGS \(\\Deleted\) MODSEQ \(\d+\)\)", await c.response())
        await other.ok("EXPUNGE")
        assert await c.response() == b"* VANISHED 1:2"


async def test_a_storm_of_commits_becomes_few_pushes(house):
    async with house() as h:
        c = await h.login("INBOX", enable="IMAP4rev2")
        await idle(c)
        for _ in range(100):
            await h.put()
        seen = 0
        pushes = 0
        while seen < 100:
            seen = int(re.fullmatch(rb"\* (\d+) EXISTS", await c.response())[1])
            pushes += 1
        assert pushes <= 60


async def test_a_deleted_mailbox_ends_idle(house):
    async with house() as h:
        c, other = await h.login(), await h.login()
        await c.ok("CREATE Soon")
        await c.ok("SELECT Soon")
        await idle(c)
        await other.ok("DELETE Soon")
        assert (await c.response()).startswith(b"* BYE The selected mailbox has gone")
        assert await c.ended()


async def test_another_worker_hears_by_a_hint_and_without_one(house):
    async with house() as h:
        await h.put()
        there = await h.second_node()
        c, other = await h.login("INBOX", enable="IMAP4rev2", node=there), await h.login("INBOX")
        await other.ok("STORE 1 +FLAGS (\\Flagged)")
        # No hint at all: the mailbox's own number tells at the end of the next command.
        assert await c.ok("NOOP") == [b"1 FETCH (UID 1 FLAGS (\\Flagged))"]
        await idle(c)
        touched = []
        h.node.store.on_commit(touched.extend, own_only=True)
        await h.put()
        await asyncio.sleep(0)  # who waited for the commit goes on first
        there.store.hint(touched)
        assert await c.response() == b"* 2 EXISTS"
        await h.put()
        there.store.notice_changes(there.watch.mailboxes())  # the look of every second
        assert await c.response() == b"* 3 EXISTS"


async def test_a_history_that_is_too_short_is_made_up_for(house):
    async with house() as h:
        await h.put(*[b"n: %d\r\n\r\n" % n for n in range(5)], flags=SEEN)
        c, other = await h.login("INBOX", enable="IMAP4rev2"), await h.login("INBOX")
        await other.ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        await other.ok("STORE 1 -FLAGS.SILENT (\\Seen)")
        await h.put()

        def forget(tx: Tx) -> None:
            box = mailboxes.find(tx, 1, "INBOX")
            tx.run("DELETE FROM expunged WHERE mailbox_id = ?", (box.id,))
            tx.run("UPDATE mailboxes SET history_from = highestmodseq WHERE id = ?", (box.id,))

        await h.node.store.write(forget)
        assert await c.ok("NOOP") == [
            b"4 EXPUNGE",
            b"2 EXPUNGE",
            b"4 EXISTS",
            b"1 FETCH (UID 1 FLAGS ())",
        ]


async def test_nothing_is_told_before_it_is_committed(house):
    async with house() as h:
        await h.put()
        a, b = await h.login("INBOX"), await h.login("INBOX")
        gate = asyncio.Event()
        write = h.node.store.write

        async def held(*args, **kw):
            await gate.wait()
            return await write(*args, **kw)

        h.node.store.write = held
        await a.send(b"x STORE 1 +FLAGS (\\Flagged)\r\n")
        assert await b.ok("NOOP") == []
        assert not a.reader._buffer
        gate.set()
        assert (await a.until(b"x"))[-1].startswith(b"x OK")
        assert await b.ok("NOOP") == [b"1 FETCH (UID 1 FLAGS (\\Flagged))"]


async def test_what_waits_for_nothing_is_answered_where_it_arrives(house):
    async with house() as h:
        client = await h.login("INBOX")
        (session,) = h.node.sessions
        session.data_received(b"a NOOP\r\nb SELECT INBOX\r\nc CREATE Work\r\nd NOOP\r\n")
        assert session.busy  # with the commit of c
        session.data_received(b"e STATUS Work (MESSAGES)\r\n")
        for tag in b"a", b"b", b"c", b"d", b"e":
            assert (await client.until(tag))[-1].startswith(tag + b" OK")
        session.data_received(b"f SELECT INBOX\r\n")
        assert not session.busy
        assert (await client.until(b"f"))[-1].startswith(b"f OK")
