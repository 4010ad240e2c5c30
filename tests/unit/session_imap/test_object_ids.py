"""Ids that stay (RFC 8474), the date of saving (RFC 8514) and previews (RFC 8970)."""

import re

from house import MESSAGE

ANSWER = MESSAGE.replace(b"<1@example.org>", b"<2@example.org>\r\nReferences: <1@example.org>")
OTHER = MESSAGE.replace(b"<1@example.org>", b"<3@example.org>")


def word(name, response):
    return re.search(name + rb" \(?([^ )]+)", response)[1]


async def test_ids_stay_with_their_things(house):
    async with house() as h:
        await h.put(MESSAGE, ANSWER, OTHER)
        c = await h.login()
        made = await c.done("CREATE Here")
        box = word(rb"MAILBOXID", made)
        assert any(b"MAILBOXID (" + box in line for line in await c.ok("EXAMINE Here"))
        await c.ok("RENAME Here There")
        assert word(rb"MAILBOXID", (await c.ok("STATUS There (MAILBOXID)"))[0]) == box
        await c.ok("DELETE There")
        assert word(rb"MAILBOXID", await c.done("CREATE There")) != box

        await c.ok("SELECT INBOX")
        first, answer, other = await c.ok("FETCH 1:3 (EMAILID THREADID)")
        assert word(rb"THREADID", first) == word(rb"THREADID", answer) != word(rb"THREADID", other)
        emails = [word(rb"EMAILID", one) for one in (first, answer, other)]
        assert len(set(emails)) == 3
        assert await c.ok(b"SEARCH EMAILID " + emails[1]) == [b"SEARCH 2"]
        assert await c.ok(b"SEARCH THREADID " + word(rb"THREADID", answer)) == [b"SEARCH 1 2"]
        assert await c.ok("SEARCH EMAILID M0-0 NOT THREADID Tx") == [b"SEARCH"]
        assert (await c.refused("SEARCH EMAILID a/b")).startswith(b"BAD")
        await c.ok("MOVE 2 There")
        await c.ok("SELECT There")
        (moved,) = await c.ok("FETCH 1 EMAILID")
        assert word(rb"EMAILID", moved) == emails[1]


async def test_the_same_octets_for_two_people_are_not_the_same_message(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c = await h.login("INBOX")
        one, two = await c.ok("FETCH 1:2 EMAILID")
        assert word(rb"EMAILID", one) != word(rb"EMAILID", two)
        assert len(await c.ok("FETCH 1:2 THREADID")) == 2


async def test_the_date_of_saving(house):
    async with house() as h:
        await h.put(MESSAGE, date=0)
        c = await h.login("INBOX")
        (told,) = await c.ok("FETCH 1 (INTERNALDATE SAVEDATE)")
        assert b'INTERNALDATE " 1-Jan-1970' in told
        saved = re.search(rb'SAVEDATE "([^ "]*\S+) \S+ \+0000"', told.replace(b'" ', b'"'))[1]
        assert not saved.endswith(b"-1970")
        assert await c.ok(b"SEARCH SAVEDON " + saved) == [b"SEARCH 1"]
        assert await c.ok(b"SEARCH SAVEDBEFORE " + saved) == [b"SEARCH"]
        assert await c.ok(b"SEARCH SAVEDSINCE 2-Feb-1994 SAVEDATESUPPORTED") == [b"SEARCH 1"]
        (mixed,) = await c.ok("FETCH 1 (SAVEDATE ENVELOPE)")
        assert mixed.startswith(b'1 FETCH (SAVEDATE "')


async def test_messages_that_come_later_and_go_have_their_dates(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c = await h.login("INBOX")
        await h.put(MESSAGE)
        await c.ok("NOOP")
        await c.ok("STORE 1 +FLAGS (\\Deleted)")
        await c.ok("EXPUNGE")
        assert len(await c.ok("FETCH 1:2 SAVEDATE")) == 2
        assert await c.ok("SEARCH SAVEDSINCE 2-Feb-1994") == [b"SEARCH 1 2"]


async def test_previews(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE.replace(b"How about lunch?", "Grüße".encode()), MESSAGE.split(b"How")[0])
        c = await h.login("INBOX")
        assert await c.ok("FETCH 1 PREVIEW") == [b'1 FETCH (PREVIEW "How about lunch?")']
        assert await c.ok("FETCH 1 (PREVIEW (LAZY) UID)") == [b'1 FETCH (PREVIEW "How about lunch?" UID 1)']
        assert await c.ok("FETCH 1 preview (lazy)") == [b'1 FETCH (PREVIEW "How about lunch?")']
        assert await c.ok("FETCH 3 PREVIEW") == [b'3 FETCH (PREVIEW "")']
        (told,) = await c.ok("FETCH 2 PREVIEW")
        assert told.startswith(b"2 FETCH (PREVIEW {")
        await c.ok("ENABLE IMAP4rev2")
        assert await c.ok("FETCH 2 PREVIEW") == ['2 FETCH (PREVIEW "Grüße")'.encode()]
        assert (await c.refused("FETCH 1 PREVIEW (SLOW)")).startswith(b"BAD")
