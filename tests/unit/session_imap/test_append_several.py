"""Several messages at once, messages put together, messages replaced: RFC 3502, 4469, 8508."""

import asyncio
import random

import pytest

from house import MESSAGE
from pillarbox.session import imap_append_held


async def test_several_messages_in_one_command(house):
    async with house() as h:
        c = await h.login("INBOX")
        command = 'APPEND INBOX (\\Seen) {} "17-Jul-1996 02:44:25 -0700" {} (todo) {}'
        told, tagged = await c.do(command, b"a: 1\r\n\r\n1", b"a: 1\r\n\r\n2", b"a: 1\r\n\r\n3")
        assert tagged.startswith(b"OK [APPENDUID ")
        assert tagged.split()[3] == b"1:3]"
        assert b"3 EXISTS" in told
        first, second, third = await c.ok("FETCH 1:3 (FLAGS INTERNALDATE BODY.PEEK[TEXT])")
        assert b"(\\Seen \\Recent)" in first
        assert b"17-Jul-1996" in second
        assert b"todo" in third
        assert third.endswith(b"{1}\r\n3)")


async def test_all_of_them_or_none(house):
    async with house(max_message_size=2000) as h:
        c = await h.login("INBOX")
        assert b"TOOBIG" in await c.refused("APPEND INBOX {} {}", b"x" * 10, b"x" * 2001)
        assert (await c.refused("APPEND INBOX {} {}", b"x" * 10, b"")).startswith(b"NO")
        await c.send(b"x APPEND INBOX {5+}\r\nabcde {3+}\r\na\0b\r\n")
        assert (await c.response()).startswith(b"x BAD a literal holds no NUL")
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
        assert h.node.memory.used == 0


async def test_an_account_that_is_full_takes_none_of_them(house):
    async with house() as h:
        await h.add_user("carl@example.com", quota_limit=30)
        c = await h.login("INBOX", user="carl@example.com")
        assert b"NO [OVERQUOTA]" in await c.refused("APPEND INBOX {} {}", b"x" * 20, b"y" * 20)
        assert await c.ok("STATUS INBOX (MESSAGES SIZE)") == [b"STATUS INBOX (MESSAGES 0 SIZE 0)"]
        await c.ok("APPEND INBOX {}", b"x" * 20)
        await c.ok("REPLACE 1 INBOX {}", b"y" * 25)  # what it replaces makes the room


async def test_many_do_not_stay_in_memory(house, monkeypatch):
    monkeypatch.setattr(imap_append_held, "MOST_HELD", 50_000)
    async with house(imap_save_limit=20) as h:
        c = await h.login("INBOX")
        bodies = [b"a: %d\r\n\r\n" % n + random.Random(n).randbytes(20_000).replace(b"\0", b"0") for n in range(20)]
        await c.ok("APPEND INBOX" + " {}" * 20, *bodies)
        assert h.node.memory.used == 0
        fetched = await c.ok("FETCH 1:20 BODY.PEEK[]")
        assert all(body in one for body, one in zip(bodies, fetched, strict=True))
        assert b"NO [MESSAGELIMIT 20] " in await c.refused("APPEND INBOX" + " {}" * 21, *bodies, b"more")
        assert b"SAVELIMIT=20" in (await c.ok("CAPABILITY"))[0]
        await h.node.store.write(lambda tx: None)
        assert await h.node.store.read(blobs_there) == 20  # those of the other command have gone again


def blobs_there(tx):
    return tx.row("SELECT count(*) FROM blobs")[0]


async def test_what_waits_in_the_store_goes_with_the_connection(house, monkeypatch):
    monkeypatch.setattr(imap_append_held, "MOST_HELD", 3000)
    async with house() as h:
        c = await h.login("INBOX")
        await c.send(b"x APPEND INBOX" + b" {9+}\r\na: 1\r\n\r\nb" * 8 + b" {300000+}\r\n" + b"x" * 280_000)
        async with asyncio.timeout(10):
            while await h.node.store.read(blobs_there) < 5:
                await asyncio.sleep(0.001)
        c.close()
        await h.closed()
        async with asyncio.timeout(10):
            while await h.node.store.read(blobs_there):
                await asyncio.sleep(0.001)
        assert h.node.memory.used == 0


async def test_a_copy_of_too_many_is_refused(house):
    async with house(imap_save_limit=3) as h:
        await h.put(*[MESSAGE] * 5)
        c = await h.login("INBOX")
        await c.ok("CREATE There")
        assert b"NO [MESSAGELIMIT 3 3] " in await c.refused("COPY 1:* There")
        assert b"NO [MESSAGELIMIT 3 2] " in await c.refused("UID COPY 1:4 There")
        assert await c.ok("STATUS There (MESSAGES)") == [b"STATUS There (MESSAGES 0)"]
        await c.ok("UID COPY 3:5 There")
        await c.ok("COPY 1:2 There")
        assert await c.ok("UID SEARCH UIDAFTER 2 UIDBEFORE 5") == [b"SEARCH 3 4"]
        await c.ok("MOVE 1:* There")  # that can be done in part, and is not limited
        assert await c.ok("STATUS There (MESSAGES)") == [b"STATUS There (MESSAGES 10)"]


async def test_a_message_is_put_together(house):
    async with house() as h:
        await h.put(MESSAGE)
        c = await h.login("INBOX")
        await c.ok(
            'APPEND INBOX CATENATE (URL "/INBOX/;UID=1/;section=HEADER" TEXT {} URL "/INBOX;UID=1/;SECTION=TEXT")',
            b"<>",
        )
        header, _, text = MESSAGE.partition(b"\r\n\r\n")
        (response,) = await c.ok("FETCH 2 BODY.PEEK[]")
        assert response.endswith(header + b"\r\n\r\n<>" + text + b")")
        url = b"imap://ada%40example.com@mx.example.com/INBOX/;UID=1/;PARTIAL=6.3"
        await c.ok(b"APPEND INBOX CATENATE (URL {}) CATENATE (URL /INBOX/;UID=1)", url)
        three, four = await c.ok("FETCH 3:4 BODY.PEEK[]")
        assert three.endswith(b"{3}\r\n" + MESSAGE[6:9] + b")")
        assert four.endswith(MESSAGE + b")")
        fields = "/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)"
        await c.ok("APPEND INBOX CATENATE (URL {})", fields.encode())
        (five,) = await c.ok("FETCH 5 BODY.PEEK[]")
        assert five.endswith(b"{18}\r\nSubject: Lunch\r\n\r\n)")


async def test_a_part_is_a_message_of_the_selected_mailbox(house):
    """RFC 4469 section 3: the base of relative URLs."""
    async with house() as h:
        await h.put(MESSAGE)
        ada, bob = await h.login(), await h.login(user="bob@example.com")
        assert b'NO [BADURL ";UID=1"]' in await ada.refused("APPEND INBOX CATENATE (URL ;UID=1)")
        await ada.ok('CREATE "&AOQ-b/c;d"')
        await ada.ok("SELECT INBOX")
        await ada.ok('COPY 1 "&AOQ-b/c;d"')
        await ada.ok('SELECT "&AOQ-b/c;d"')
        await ada.ok("APPEND INBOX CATENATE (URL ;UID=1/;SECTION=TEXT)")
        await ada.ok("SELECT INBOX")
        (two,) = await ada.ok("FETCH 2 BODY.PEEK[]")
        assert two.endswith(b"\r\nHow about lunch?\r\n)")
        await ada.ok("SETACL INBOX bob@example.com lr")
        await bob.ok('SELECT "Other Users/ada@example.com/INBOX"')
        await bob.ok("APPEND INBOX CATENATE (URL ;UID=1)")


@pytest.mark.parametrize(
    "url",
    [
        "/INBOX/;UID=2",
        "/Nowhere/;UID=1",
        "/INBOX;UIDVALIDITY=1/;UID=1",
        "/INBOX/;UID=1/;section=7",
        "/INBOX/;UID=1/;section=what",
        "imap://bob@mx.example.com/INBOX/;UID=1",
        "imap://ada%40example.com@elsewhere.example/INBOX/;UID=1",
        "http://mx.example.com/",
    ],
)
async def test_what_no_part_of_a_message_is(house, url):
    async with house() as h:
        await h.put(MESSAGE)
        c = await h.login("INBOX")
        assert f'NO [BADURL "{url}"]'.encode() in await c.refused(
            f'APPEND INBOX CATENATE (TEXT {{}} URL "{url}")', b"x"
        )
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 1)"]
        assert h.node.memory.used == 0


async def test_what_is_put_together_may_be_too_large(house):
    async with house(max_message_size=300) as h:
        await h.put(MESSAGE)
        c = await h.login("INBOX")
        urls = " ".join(["URL /INBOX/;UID=1"] * 3)
        assert b"TOOBIG" in await c.refused(f"APPEND INBOX CATENATE ({urls})")
        assert b"TOOBIG" in await c.refused("APPEND INBOX CATENATE (TEXT {} TEXT {})", b"x" * 200, b"y" * 200)


async def test_replace(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c, other = await h.login("INBOX"), await h.login("INBOX")
        told, tagged = await c.do("REPLACE 1 INBOX (\\Draft) {}", b"a: 1\r\n\r\nnew")
        assert tagged.startswith(b"OK")
        assert told[0].startswith(b"OK [APPENDUID ")
        assert told[1:3] == [b"1 EXPUNGE", b"2 EXISTS"]
        assert b"1 EXPUNGE" in await other.ok("NOOP")
        assert await c.ok("UID SEARCH ALL") == [b"SEARCH 2 3"]
        told = await c.ok("UID REPLACE 3 Drafts {}", b"a: 2\r\n\r\nnewer")
        assert b"2 EXPUNGE" in told
        assert b"NO [NONEXISTENT]" in await c.refused("UID REPLACE 3 Drafts {}", b"a: 2\r\n\r\nnewer")
        assert (await c.refused("REPLACE 2 Drafts {}", b"a: 2\r\n\r\nnewer")).startswith(b"BAD")
        assert b"[TRYCREATE]" in await c.refused("REPLACE 1 Nowhere {}", b"a: 2\r\n\r\nnewer")
        await c.ok("EXAMINE INBOX")
        assert b"[READ-ONLY]" in await c.refused("REPLACE 1 INBOX {}", b"a: 2\r\n\r\nnewer")


async def test_what_goes_meanwhile_is_not_replaced(house):
    async with house() as h:
        await h.put(MESSAGE)
        c, other = await h.login("INBOX"), await h.login("INBOX")
        await c.send(b"x REPLACE 1 INBOX {9}\r\n")
        assert (await c.response()).startswith(b"+ ")
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        await other.ok("EXPUNGE")
        await c.send(b"a: 1\r\n\r\nb\r\n")
        assert (await c.until(b"x"))[-1].startswith(b"x NO [EXPUNGEISSUED]")
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]


async def test_another_account_on_the_same_connection(house):
    async with house() as h:
        await h.put(MESSAGE)
        c = await h.login("INBOX", enable="QRESYNC")
        assert b"[CAPABILITY IMAP4rev1" in await c.done("UNAUTHENTICATE")
        (session,) = h.node.sessions
        assert session.identity is None
        assert (await c.refused("SELECT INBOX")).startswith(b"BAD")
        await c.ok("LOGIN bob@example.com secret")
        assert b"0 EXISTS" in await c.ok("SELECT INBOX")
