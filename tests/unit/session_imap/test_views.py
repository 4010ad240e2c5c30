"""A view that rested is brought up to date; who selects it sees what anybody sees who begins anew."""

import asyncio
import tracemalloc
from array import array
from contextlib import suppress

from pillarbox.imap.flags import DELETED
from pillarbox.session import imap_views
from pillarbox.session.imap_views import Views, weight
from pillarbox.store import messages
from pillarbox.store.mailboxes import new_uidvalidity
from pillarbox.store.records import Mailbox, View

ALL = "FETCH 1:* (UID FLAGS RFC822.SIZE INTERNALDATE MODSEQ)"


def view(number, count):
    box = Mailbox(number, 1, f"M{number}", 7, count + 1, 3, 1, True, None, 1, count, 0, 0, 0, 0)
    columns = [array(code, range(1, count + 1)) for code in "IBqqqqq"]
    return View(box, *columns, {})


async def test_what_happened_meanwhile_is_in_it(house):
    async with house() as h:
        for number in range(6):
            await h.put(b"n: %d\r\n\r\n" % number, keywords=("$Old",) if number == 5 else ())
        c, other = await h.login("INBOX"), await h.login("INBOX", node=await h.second_node())
        await c.ok("UNSELECT")
        assert h.node.views.messages == 6
        await other.ok("STORE 2,5 +FLAGS.SILENT (\\Deleted $New)")
        await other.ok("EXPUNGE")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
        await h.put(b"n: new\r\n\r\n")
        told = await c.ok("SELECT INBOX")
        assert b"5 EXISTS" in told
        assert any(b"$New" not in line and b"$Old" in line for line in told if line.startswith(b"FLAGS"))
        assert h.node.views.messages == 0
        fresh = await h.login()
        await fresh.ok("SELECT INBOX")
        assert [line.replace(b"\\Recent", b"") for line in await c.ok(ALL)] == await fresh.ok(ALL)
        assert await c.ok("NOOP") == []


async def test_what_was_not_told_before_it_rested_has_gone_from_it(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n", b"a: 3\r\n\r\n")
        c, other = await h.login("INBOX"), await h.login("INBOX")
        await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        await c.ok("FETCH 1:3 FLAGS")  # it knows now, and may not tell
        await c.ok("SELECT INBOX")
        assert [line.split(b" ")[3] for line in await c.ok("FETCH 1:* UID")] == [b"1)", b"3)"]


async def test_a_mailbox_of_the_same_name_or_number_made_anew_is_read_anew(house):
    async with house(users=("ada@example.com",)) as h:
        await h.put(b"a: 1\r\n\r\n")
        c = await h.login("INBOX")
        await c.ok("UNSELECT")
        await h.node.store.write(
            lambda tx: tx.run("UPDATE mailboxes SET uidvalidity = ? WHERE name = 'INBOX'", (new_uidvalidity(tx),))
        )
        await h.put(b"a: 2\r\n\r\n")
        await c.ok("SELECT INBOX")
        assert len(await c.ok("FETCH 1:* UID")) == 2


async def test_those_that_rest_longest_make_room(house):
    async with house() as h:
        views = Views(most=weight(view(1, 3)) + weight(view(3, 2)))
        for number, count in ((1, 2), (2, 2), (1, 3), (3, 2)):
            views.give(view(number, count))
        assert views.messages == 5  # 1 with 3 and 3 with 2
        views.give(view(4, 200))  # more than may rest at all: nobody makes room for it
        assert views.messages == 5
        read = []

        async def noted(function, *args):
            read.append(function)
            raise NotImplementedError

        h.node.store.read = noted
        for number in (2, 3, 4):
            with suppress(NotImplementedError):
                await views.open(h.node.store, view(number, 2).mailbox)
        assert read == [messages.open_view, messages.changes, messages.open_view]
        assert views.messages == 3


def test_empty_mailboxes_and_keywords_make_room_too():
    tracemalloc.start()
    try:
        views, keywords = Views(most=1_000_000), Views(most=1_000_000)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            views.give(view(number, 0))
        for number in range(100):
            one = view(number, 10)
            one.keywords.update((uid, tuple(f"{word:x>200}" for word in range(uid * 10))) for uid in one.uids)
            keywords.give(one)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < keywords.messages < 100
    assert 1_000_000 < after - before < 3_000_000


async def test_a_view_that_missed_very_much_is_read_anew(house, monkeypatch):
    monkeypatch.setattr(imap_views, "MANY", 3)
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n")
        c, other = await h.login("INBOX"), await h.login("INBOX")
        for flag, read_anew in (("$A", False), ("$B", True)):
            await c.ok("UNSELECT")
            await h.put(b"a: 3\r\n\r\n")
            await other.ok(f"STORE 1:2 +FLAGS.SILENT {flag}")
            if read_anew:
                await h.put(b"a: 4\r\n\r\n")
            read = []
            with monkeypatch.context() as patched:
                store_read = h.node.store.read

                async def noted(function, *args, _read=read, _on=store_read, **kw):
                    _read.append(function)
                    return await _on(function, *args, **kw)

                patched.setattr(h.node.store, "read", noted)
                await c.ok("SELECT INBOX")
            assert (messages.open_view in read) == read_anew
            fresh = await h.login()
            await fresh.ok("EXAMINE INBOX")
            assert [line.replace(b"\\Recent", b"") for line in await c.ok(ALL)] == [
                line.replace(b"\\Recent", b"") for line in await fresh.ok(ALL)
            ]


async def test_selecting_again_what_nobody_changed_is_one_read(house, monkeypatch):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n")
        c = await h.login("INBOX")
        told = [line for line in await c.ok("SELECT INBOX") if b"CLOSED" not in line]
        await c.ok("UNSELECT")
        asked = []
        for name in ("read", "peek", "scan"):
            function = getattr(h.node.store, name)

            def noted(what, *args, _on=function, **kw):
                asked.append(what.__name__)
                return _on(what, *args, **kw)

            monkeypatch.setattr(h.node.store, name, noted)
        assert await c.ok("SELECT INBOX") == told
        assert asked == ["seen"]


async def test_what_another_worker_does_after_it_was_selected_again_is_told(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n")
        c = await h.login("INBOX")
        other = await h.login("INBOX", node=await h.second_node())
        await c.ok("UNSELECT")
        assert b"2 EXISTS" in await c.ok("SELECT INBOX")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        assert await c.ok("NOOP") == [b"1 EXPUNGE"]
        await c.ok("UNSELECT")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
        assert b"1 EXISTS" in await c.ok("SELECT INBOX")
        assert await c.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS (\\Flagged))"]


async def test_who_selects_the_same_holds_the_same_until_there_are_news(house, monkeypatch):
    async with house() as h:
        await h.put(*(b"n: %d\r\n\r\n" % number for number in range(12)), keywords=("$Old",))
        a = await h.login("INBOX")
        read, opened = h.node.store.read, []

        async def noted(function, *args, **kw):
            opened.append(function)
            return await read(function, *args, **kw)

        monkeypatch.setattr(h.node.store, "read", noted)
        b, c = await h.login("INBOX"), await h.login("INBOX")
        assert messages.open_view not in opened
        views = [session.selected for session in h.node.sessions]
        assert len({id(view.uids) for view in views}) == len({id(view.keywords) for view in views}) == 1
        before = await a.ok(ALL)
        assert await b.ok(ALL) == await c.ok(ALL)
        await b.ok("STORE 2:3,5,7,9 +FLAGS (\\Deleted $New)")
        await b.ok("EXPUNGE")
        await h.put(b"n: new\r\n\r\n", keywords=("$Old",))
        await b.ok("NOOP")
        assert [line for line in await a.ok(ALL) if b"MODSEQ" in line] == before  # it may not hear of it yet
        await a.ok("NOOP")
        await c.ok("NOOP")
        told = [[line.replace(b"\\Recent ", b"") for line in await one.ok(ALL)] for one in (a, b, c)]
        assert told[0] == told[1] == told[2]
        assert len(told[0]) == 8
        assert len({id(view.uids) for view in views}) == 3


async def test_the_last_one_who_leaves_lets_the_view_rest(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n")
        a, b, c = await h.login("INBOX"), await h.login("INBOX"), await h.login("INBOX")
        await a.ok("UNSELECT")
        await b.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
        assert h.node.views.messages == 0
        await b.ok("UNSELECT")
        assert h.node.views.messages == 2  # b's, which it had to itself
        await c.ok("NOOP")
        await c.ok("UNSELECT")
        assert h.node.views.messages == 2
        assert b"\\Seen" in (await a.ok("SELECT INBOX"))[0] and b"2 EXISTS" in (await a.ok("SELECT INBOX"))
        assert b"\\Seen" in (await a.ok("FETCH 1 FLAGS"))[0]


async def told_of_expunges_slowly(h, monkeypatch, enable=None):
    """A session whose client does not take the expunges it is being told of, and the session."""
    monkeypatch.setattr("pillarbox.session.imap_news.LINES", 2)
    await h.put(*(b"n: %d\r\n\r\n" % number for number in range(12)), flags=DELETED)
    away = await h.second_node()
    other = await h.login("INBOX", node=away)
    await other.ok("STORE 9:12 -FLAGS.SILENT (\\Deleted)")
    slow = await h.login("INBOX", enable=enable)
    (session,) = h.node.sessions
    await other.ok("EXPUNGE")
    session.pause_writing()
    await slow.send(b"x NOOP\r\n")
    while not session.busy:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    return slow, session


async def test_who_selects_while_expunges_are_told_has_none_of_them(house, monkeypatch):
    async with house() as h:
        slow, session = await told_of_expunges_slowly(h, monkeypatch)
        c = await h.login()
        assert b"4 EXISTS" in await c.ok("SELECT INBOX")
        assert await c.ok("FETCH 1:* UID") == [b"%d FETCH (UID %d)" % (n, n + 8) for n in (1, 2, 3, 4)]
        session.resume_writing()
        assert (await slow.until(b"x"))[:-1] == [b"* %d EXPUNGE" % n for n in range(8, 0, -1)]
        assert await slow.ok("FETCH 1:* UID") == await c.ok("FETCH 1:* UID")


async def test_a_view_that_a_lost_client_leaves_has_none_of_what_was_expunged(house, monkeypatch):
    async with house() as h:
        _, session = await told_of_expunges_slowly(h, monkeypatch)
        session.abort()
        while h.node.views.messages == 0:
            await asyncio.sleep(0)
        c = await h.login()
        assert b"4 EXISTS" in await c.ok("SELECT INBOX")
        assert await c.ok("FETCH 1:* UID") == [b"%d FETCH (UID %d)" % (n, n + 8) for n in (1, 2, 3, 4)]
