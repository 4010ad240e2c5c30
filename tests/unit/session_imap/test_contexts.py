"""Results that are kept up to date (RFC 5267)."""

import asyncio
import re

from pillarbox.imap.flags import FLAGGED


def letter(subject, body="x"):
    return f"From: Bob <bob@example.org>\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


def esearches(untagged):
    return [re.sub(rb'TAG "\w+"', b"TAG", one) for one in untagged if one.startswith(b"ESEARCH")]


async def test_a_search_is_kept_up_to_date(house):
    async with house() as h:
        await h.put(letter("a"), letter("b"), letter("c"), flags=FLAGGED)
        c = await h.login("INBOX")
        assert esearches(await c.ok("UID SEARCH RETURN (UPDATE COUNT) FLAGGED")) == [b"ESEARCH (TAG) UID COUNT 3"]
        await h.put(letter("d"))
        await h.put(letter("e"), flags=FLAGGED)
        untagged = await c.ok("NOOP")
        assert esearches(untagged) == [b"ESEARCH (TAG) UID ADDTO (0 5)"]
        assert untagged.index(b"5 EXISTS") < untagged.index(next(o for o in untagged if o.startswith(b"ESEARCH")))
        assert esearches(await c.ok("STORE 1 -FLAGS (\\Flagged)")) == [b"ESEARCH (TAG) UID REMOVEFROM (0 1)"]
        assert esearches(await c.ok("STORE 4 +FLAGS.SILENT (\\Flagged)")) == [b"ESEARCH (TAG) UID ADDTO (0 4)"]
        assert esearches(await c.ok("STORE 4 +FLAGS.SILENT (\\Seen)")) == []
        await c.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
        untagged = await c.ok("EXPUNGE")
        assert re.sub(rb'TAG "\w+"', b"TAG", untagged[0]) == b"ESEARCH (TAG) UID REMOVEFROM (0 2:3)"
        assert untagged[1:3] == [b"3 EXPUNGE", b"2 EXPUNGE"]
        assert await c.ok("NOOP") == []


async def test_message_numbers_are_right_when_they_are_told(house):
    async with house() as h:
        await h.put(letter("a"), letter("b"), flags=FLAGGED)
        c = await h.login("INBOX")
        other = await h.login("INBOX")
        await c.ok("SEARCH RETURN (UPDATE) FLAGGED")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        await h.put(letter("c"), flags=FLAGGED)
        assert esearches(await c.ok("FETCH 1 UID")) == [b"ESEARCH (TAG) ADDTO (0 3)"]  # no EXPUNGE may come yet
        assert esearches(await c.ok("NOOP")) == [b"ESEARCH (TAG) REMOVEFROM (0 1)"]
        assert await c.ok("SEARCH FLAGGED") == [b"SEARCH 1 2"]


async def test_a_sorted_result_tells_places(house):
    async with house() as h:
        await h.put(letter("b"), letter("d"), letter("f"))
        c = await h.login("INBOX")
        (first,) = esearches(await c.ok("UID SORT RETURN (UPDATE ALL) (REVERSE SUBJECT) UTF-8 UNSEEN"))
        assert first == b"ESEARCH (TAG) UID ALL 3,2,1"
        await h.put(letter("e"), letter("a"))
        assert esearches(await c.ok("NOOP")) == [b"ESEARCH (TAG) UID ADDTO (2 4 5 5)"]
        assert esearches(await c.ok("UID STORE 3,1 +FLAGS.SILENT (\\Seen)")) == [
            b"ESEARCH (TAG) UID REMOVEFROM (4 1 1 3)"
        ]


async def test_texts_and_idle(house):
    async with house() as h:
        c = await h.login("INBOX")
        await c.ok("UID SEARCH RETURN (UPDATE) BODY lunch")
        await c.send(b"i IDLE\r\n")
        assert (await c.response()).startswith(b"+")
        await h.put(letter("x", "dinner"), letter("y", "lunch"))
        found = b""
        while b"ADDTO" not in found:
            found = await asyncio.wait_for(c.response(), 5)
        assert found.endswith(b" UID ADDTO (0 2)")
        await c.send(b"DONE\r\n")
        await c.until(b"i")


async def test_cancel_and_refusals(house):
    async with house() as h:
        await h.put(letter("a"), flags=FLAGGED)
        c = await h.login("INBOX")
        await c.send(b"B01 UID SEARCH RETURN (UPDATE) FLAGGED\r\n")
        await c.until(b"B01")
        assert (await c.refused('CANCELUPDATE "B02"')).startswith(b"NO")
        await c.ok('CANCELUPDATE "B01"')
        await h.put(letter("b"), flags=FLAGGED)
        assert esearches(await c.ok("NOOP")) == []
        for keys in ("1:5", "YOUNGER 100", "NOT UID 1:*", "FUZZY TEXT x"):
            untagged = await c.ok(f"SEARCH RETURN (UPDATE COUNT) {keys}")
            assert any(one.startswith(b'NO [NOUPDATE "t') for one in untagged), keys


async def test_a_session_keeps_a_few_results_only(house, monkeypatch):
    monkeypatch.setattr("pillarbox.session.imap_contexts.MOST", 2)
    async with house() as h:
        c = await h.login("INBOX")
        for number in range(3):
            untagged = await c.ok("SEARCH RETURN (UPDATE COUNT) ALL")
            assert any(b"NOUPDATE" in one for one in untagged) is (number == 2)
        await c.ok("SELECT INBOX")
        assert not any(b"NOUPDATE" in one for one in await c.ok("SEARCH RETURN (UPDATE COUNT) ALL"))
