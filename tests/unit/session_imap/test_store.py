"""STORE, EXPUNGE, COPY, MOVE: the answers of one session, and what others make of them."""

import re

import pytest

from pillarbox.imap.flags import DELETED, FLAGGED, SEEN


def five():
    return [b"n: %d\r\n\r\n" % n for n in range(5)]


async def test_store_sets_adds_and_removes(house):
    async with house() as h:
        await h.put(*five())
        c = await h.login("INBOX", enable="IMAP4rev2")
        assert await c.ok("STORE 1:2 FLAGS (\\Seen \\Flagged)") == [
            b"1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))",
            b"2 FETCH (UID 2 FLAGS (\\Flagged \\Seen))",
        ]
        assert await c.ok("STORE 1 -FLAGS (\\Seen)") == [b"1 FETCH (UID 1 FLAGS (\\Flagged))"]
        assert await c.ok("UID STORE 2 +FLAGS \\Answered") == [b"2 FETCH (UID 2 FLAGS (\\Answered \\Flagged \\Seen))"]
        assert await c.ok("STORE 2 +FLAGS (\\Seen)") == [b"2 FETCH (UID 2 FLAGS (\\Answered \\Flagged \\Seen))"]
        assert await c.ok("STORE 3:5 +FLAGS.SILENT (\\Deleted)") == []
        assert await c.ok("SEARCH RETURN (COUNT) DELETED") != []
        assert (await c.refused("STORE 6 +FLAGS (\\Seen)")).startswith(b"BAD")
        assert await c.ok("UID STORE 99 +FLAGS (\\Seen)") == []


async def test_a_store_that_changes_nothing_writes_nothing(house, monkeypatch):
    async with house() as h:
        await h.put(*five())
        c, other = await h.login("INBOX", enable="IMAP4rev2"), await h.login("INBOX")
        await c.ok("STORE 1:2 +FLAGS (\\Seen)")
        writes, write = [], h.node.store.write

        def counted(fn, *args, **kw):
            writes.append(fn)
            return write(fn, *args, **kw)

        monkeypatch.setattr(h.node.store, "write", counted)
        assert await c.ok("STORE 1:2 +FLAGS (\\Seen)") == [
            b"1 FETCH (UID 1 FLAGS (\\Seen))",
            b"2 FETCH (UID 2 FLAGS (\\Seen))",
        ]
        assert await c.ok("STORE 3:4 -FLAGS (\\Flagged)") != []
        assert await c.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)") == []
        assert await c.ok("STORE 1 (UNCHANGEDSINCE 9999) +FLAGS (\\Seen)") != []
        assert (await c.do("STORE 1:3 (UNCHANGEDSINCE 1) -FLAGS (\\Draft)"))[1].startswith(b"OK [MODIFIED 1:3]")
        assert writes == []
        # What this session believes is not what there is.
        await other.ok("STORE 2 -FLAGS (\\Seen)")
        assert len(writes) == 1
        assert b"2 FETCH (UID 2 FLAGS (\\Seen) MODSEQ" in (await c.ok("STORE 2 +FLAGS (\\Seen)"))[-1]
        assert len(writes) == 2
        assert (await other.ok("NOOP"))[-1] == b"2 FETCH (UID 2 FLAGS (\\Seen \\Recent))"


async def test_a_new_keyword_is_announced_before_it_is_used(house):
    async with house() as h:
        await h.put()
        c = await h.login("INBOX", enable="IMAP4rev2")
        told = await c.ok("STORE 1 +FLAGS (todo)")
        assert told[0] == b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft todo)"
        assert told[1].startswith(b"OK [PERMANENTFLAGS (\\Answered ")
        assert told[2] == b"1 FETCH (UID 1 FLAGS (todo))"
        assert await c.ok("STORE 1 +FLAGS (TODO)") == [b"1 FETCH (UID 1 FLAGS (todo))"]
        assert await c.ok("STORE 1 -FLAGS (Todo)") == [b"1 FETCH (UID 1 FLAGS ())"]


async def test_store_unchangedsince(house):
    async with house() as h:
        await h.put(*five())
        c, other = await h.login("INBOX"), await h.login("INBOX")
        (response,) = await c.ok("FETCH 5 (MODSEQ)")
        modseq = int(re.search(rb"MODSEQ \((\d+)\)", response)[1])
        await other.ok("STORE 2 +FLAGS (\\Flagged)")
        told, tagged = await c.do(f"STORE 1:3 (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Seen)")
        assert tagged.startswith(b"OK [MODIFIED 2]")
        told = b"\n".join(told)
        assert re.search(rb"1 FETCH \(UID 1 MODSEQ \(\d+\)\)", told)
        assert re.search(rb"2 FETCH \(UID 2 FLAGS \(\\Flagged[^)]*\) MODSEQ \(\d+\)\)", told)  # why it was refused
        tagged = await c.done(f"UID STORE 1:3 (UNCHANGEDSINCE {modseq}) +FLAGS (\\Seen)")
        assert tagged.startswith(b"OK [MODIFIED 1:3]")
        assert await c.ok("SEARCH SEEN") == [b"SEARCH 1 3"]


async def test_expunge_tells_numbers_from_the_last_to_the_first(house):
    async with house() as h:
        await h.put(*five())
        c = await h.login("INBOX")
        await c.ok("STORE 2,4:5 +FLAGS.SILENT (\\Deleted)")
        assert await c.ok("EXPUNGE") == [b"5 EXPUNGE", b"4 EXPUNGE", b"2 EXPUNGE", b"2 RECENT"]
        assert await c.ok("FETCH 1:* UID") == [b"1 FETCH (UID 1)", b"2 FETCH (UID 3)"]
        assert await c.ok("EXPUNGE") == []


async def test_uid_expunge_takes_only_what_is_named_and_deleted(house):
    async with house() as h:
        await h.put(*five(), flags=DELETED | SEEN)
        c = await h.login("INBOX", enable="QRESYNC")
        await c.ok("STORE 1 -FLAGS.SILENT (\\Deleted)")
        told, tagged = await c.do("UID EXPUNGE 1:3,77")
        assert told[0] == b"VANISHED 2:3"
        assert tagged.startswith(b"OK [HIGHESTMODSEQ ")
        assert [one.rpartition(b" ")[2] for one in await c.ok("FETCH 1:* UID")] == [b"1)", b"4)", b"5)"]


async def test_copy(house):
    async with house() as h:
        await h.put(*five(), flags=SEEN, keywords=("k",))
        c = await h.login("INBOX")
        tagged = await c.done("COPY 2,4:5 Archive")
        assert re.match(rb"OK \[COPYUID \d+ 2,4:5 1:3\]", tagged)
        assert (await c.done("UID COPY 77 Archive")).startswith(b"OK COPY")
        assert b"NO [TRYCREATE]" in await c.refused("COPY 1 Nowhere")
        assert b"6 EXISTS" in await c.ok("COPY 1 INBOX")
        await c.ok("SELECT Archive")
        assert b"FLAGS (\\Seen \\Recent k)" in (await c.ok("FETCH 1 FLAGS"))[0]


async def test_move(house):
    async with house() as h:
        await h.put(*five())
        c = await h.login("INBOX")
        told, tagged = await c.do("MOVE 2:3 Archive")
        assert re.match(rb"OK \[COPYUID \d+ 2:3 1:2\]", told[0])
        assert told[1:3] == [b"3 EXPUNGE", b"2 EXPUNGE"]
        assert tagged.startswith(b"OK MOVE")
        assert b"NO [TRYCREATE]" in await c.refused("UID MOVE 1 Nowhere")
        await c.ok("UID MOVE 4 Archive")
        assert await c.ok("STATUS Archive (MESSAGES)") == [b"STATUS Archive (MESSAGES 3)"]
        assert [one.rpartition(b" ")[2] for one in await c.ok("FETCH 1:* UID")] == [b"1)", b"5)"]


async def test_a_full_account_can_neither_copy_nor_append(house):
    async with house(users=()) as h:
        await h.add_user("ada@example.com", quota_limit=1000)
        await h.put(b"a: 1\r\n\r\n" + b"x" * 700)
        c = await h.login("INBOX")
        assert (await c.refused("COPY 1 Trash")).startswith(b"NO [OVERQUOTA]")
        assert (await c.refused("APPEND INBOX {}", b"y" * 500)).startswith(b"NO [OVERQUOTA]")
        await c.ok("MOVE 1 Trash")
        assert await c.ok("STATUS Trash (MESSAGES)") == [b"STATUS Trash (MESSAGES 1)"]


async def test_what_another_session_expunged(house):
    async with house() as h:
        await h.put(*five())
        c, other = await h.login("INBOX"), await h.login("INBOX")
        await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        # Numbers stay as they are while commands go by them; the octets are still there.
        assert b"2 FETCH (BODY[] {8}\r\nn: 1\r\n\r\n)" in await c.ok("FETCH 2 BODY.PEEK[]")
        assert await c.ok("FETCH 2:3 UID") == [b"2 FETCH (UID 2)", b"3 FETCH (UID 3)"]
        told, tagged = await c.do("STORE 2:3 +FLAGS (\\Seen)")
        assert tagged.startswith(b"NO [EXPUNGEISSUED]")
        assert len(told) == 1
        assert told[0].startswith(b"3 FETCH (")
        assert await c.ok("SEARCH ALL") == [b"SEARCH 1 2 3 4 5"]
        told, tagged = await c.do("COPY 2:3 Trash")
        assert tagged.startswith(b"NO [EXPUNGEISSUED]")
        assert b"2 EXPUNGE" in told
        assert await c.ok("STATUS Trash (MESSAGES)") == [b"STATUS Trash (MESSAGES 0)"]
        assert await c.ok("SEARCH ALL") == [b"SEARCH 1 2 3 4"]


async def test_silent_hides_nothing_that_others_did(house):
    async with house() as h:
        await h.put(*five())
        a, b = await h.login("INBOX", enable="IMAP4rev2"), await h.login("INBOX")
        await b.ok("STORE 1 +FLAGS (\\Flagged)")
        await b.ok("STORE 2 +FLAGS (todo)")
        await b.ok("STORE 3:4 +FLAGS (\\Seen)")
        # RFC 9051 section 6.4.6: what another did is told even so; what this client can compute itself is not.
        told = await a.ok("STORE 1:3 +FLAGS.SILENT (\\Seen)")
        assert told[2:] == [
            b"1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))",
            b"2 FETCH (UID 2 FLAGS (\\Seen todo))",
            b"3 FETCH (UID 3 FLAGS (\\Seen))",
            b"4 FETCH (UID 4 FLAGS (\\Seen))",
        ]
        assert await a.ok("STORE 4 FLAGS.SILENT (\\Draft TODO)") == []
        assert await a.ok("STORE 1:4 -FLAGS.SILENT (\\Seen Todo)") == []
        assert await a.ok("STORE 5 +FLAGS.SILENT (todo)") == []
        assert await a.ok("NOOP") == []


@pytest.mark.parametrize("operation", ["FLAGS", "+FLAGS", "-FLAGS"])
async def test_silent_hides_no_flag_that_may_not_be_changed(house, operation):
    """RFC 4314 section 4: the others are changed, and the client takes all of them for changed."""
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", mailbox="Sent", flags=SEEN | FLAGGED, keywords=("$Hers",))
        ada = await h.login("Sent")
        await ada.ok("SETACL Sent bob@example.com lrs")
        bob = await h.login('"Other Users/ada@example.com/Sent"', user="bob@example.com")
        expected = {"FLAGS": b"\\Flagged \\Seen", "+FLAGS": b"\\Flagged \\Seen", "-FLAGS": b"\\Flagged"}[operation]
        (told,) = await bob.ok(f"STORE 1 {operation}.SILENT (\\Seen \\Deleted \\Flagged $Other)")
        assert b"FLAGS (" + expected + b" $Hers" in told
        await ada.ok("SETACL Sent bob@example.com lrswte")
        assert await bob.ok("NOOP") == []
        told = await bob.ok(f"STORE 1 {operation}.SILENT (\\Seen \\Deleted $Other)")
        assert not [line for line in told if b"FETCH" in line]
