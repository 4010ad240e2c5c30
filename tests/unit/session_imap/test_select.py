"""SELECT, EXAMINE, CLOSE, UNSELECT, STATUS; \\Recent; QRESYNC."""

import asyncio
import re

from pillarbox.imap.flags import DELETED, FLAGGED, SEEN
from pillarbox.session import imap_select
from pillarbox.store.write_lock import WriteLock


def code(responses, name):
    """The value of a response code such as UIDNEXT."""
    for response in responses:
        if found := re.match(rb"OK \[%b ([^\]]*)\]" % name, response):
            return found[1]
    return None


async def test_select_tells_everything_that_it_must(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", flags=SEEN)
        await h.put(b"b: 1\r\n\r\n", keywords=("$Junk", "mine"))
        c = await h.login()
        told, tagged = await c.do("SELECT inbox")
        assert tagged.startswith(b"OK [READ-WRITE]")
        assert told[:3] == [
            b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk mine)",
            b"2 EXISTS",
            b"2 RECENT",
        ]
        assert code(told, b"UNSEEN") == b"2"
        assert code(told, b"UIDNEXT") == b"3"
        assert code(told, b"PERMANENTFLAGS").endswith(b"$Junk mine \\*)")
        assert int(code(told, b"UIDVALIDITY")) > 0
        assert int(code(told, b"HIGHESTMODSEQ")) > 0
        assert not any(one.startswith(b"LIST") for one in told)


async def test_select_in_rev2_has_list_and_neither_recent_nor_unseen(house):
    async with house() as h:
        await h.put()
        c = await h.login(enable="IMAP4rev2")
        told = await c.ok("SELECT Drafts")
        assert b'LIST (\\Drafts) "/" Drafts' in told
        told = await c.ok("SELECT INBOX")
        assert told[0].startswith(b"OK [CLOSED]")
        assert not any(b"RECENT" in one or b"UNSEEN" in one for one in told)
        (flags,) = await c.ok("FETCH 1 FLAGS")
        assert flags == b"1 FETCH (FLAGS ())"


async def test_examine_is_read_only_and_changes_nothing(house):
    async with house() as h:
        await h.put()
        c = await h.login()
        told, tagged = await c.do("EXAMINE INBOX")
        assert tagged.startswith(b"OK [READ-ONLY]")
        assert code(told, b"PERMANENTFLAGS") == b"()"
        await c.ok("FETCH 1 BODY[]")
        assert b"[READ-ONLY]" in await c.refused("STORE 1 +FLAGS (\\Seen)")
        assert b"[READ-ONLY]" in await c.refused("EXPUNGE")
        assert b"[READ-ONLY]" in await c.refused("MOVE 1 Trash")
        assert await c.ok("STATUS INBOX (UNSEEN RECENT)") == [b"STATUS INBOX (UNSEEN 1 RECENT 1)"]
        await c.ok("COPY 1 Trash")


async def test_a_missing_mailbox_leaves_nothing_selected(house):
    async with house() as h:
        c = await h.login("INBOX")
        told, tagged = await c.do("SELECT Nowhere")
        assert tagged.startswith(b"NO [NONEXISTENT]")
        assert told[0].startswith(b"OK [CLOSED]")
        assert (await c.refused("FETCH 1 FLAGS")).startswith(b"BAD")


async def test_recent_is_told_to_one_session_only(house):
    async with house() as h:
        await h.put()
        first, second = await h.login("INBOX"), await h.login()
        assert b"0 RECENT" in await second.ok("SELECT INBOX")
        assert await first.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS (\\Recent))"]
        assert await first.ok("SEARCH RECENT") == [b"SEARCH 1"]
        assert await second.ok("SEARCH OLD") == [b"SEARCH 1"]
        await h.put()
        told = await first.ok("NOOP")
        assert told == [b"2 EXISTS", b"2 RECENT"]
        await first.ok("UNSELECT")
        third = await h.login()
        assert b"0 RECENT" in await third.ok("SELECT INBOX")


async def test_who_holds_the_database_does_not_keep_anybody_from_selecting(house, monkeypatch):
    monkeypatch.setattr(imap_select, "CLAIM_PATIENCE", 0.05)
    async with house() as h:
        await h.put()
        c = await h.login()
        lock = WriteLock(str(h.node.settings.db_path))
        with lock:
            told = await c.ok("SELECT INBOX")
        lock.close()
        assert b"1 RECENT" in told


async def test_close_expunges_silently_and_unselect_does_not(house):
    async with house() as h:
        await h.put()
        await h.put(flags=DELETED)
        c = await h.login("INBOX")
        assert await c.ok("UNSELECT") == []
        assert await c.ok("STATUS INBOX (MESSAGES DELETED)") == [b"STATUS INBOX (MESSAGES 2 DELETED 1)"]
        await c.ok("SELECT INBOX")
        assert await c.ok("CLOSE") == []
        assert await c.ok("STATUS INBOX (MESSAGES DELETED)") == [b"STATUS INBOX (MESSAGES 1 DELETED 0)"]
        assert (await c.refused("CLOSE")).startswith(b"BAD")


async def test_status_of_everything(house):
    async with house(max_message_size=1_000_000) as h:
        await h.put(b"a: 1\r\n\r\n12345", flags=SEEN)
        await h.put(b"a: 1\r\n\r\n", flags=FLAGGED)
        c = await h.login()
        (line,) = await c.ok("STATUS inbox (MESSAGES UIDNEXT UNSEEN SIZE DELETED RECENT APPENDLIMIT)")
        assert line == b"STATUS INBOX (MESSAGES 2 UIDNEXT 3 UNSEEN 1 SIZE 21 DELETED 0 RECENT 2 APPENDLIMIT 1000000)"
        (line,) = await c.ok("STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)")
        assert re.fullmatch(rb"STATUS INBOX \(UIDVALIDITY \d+ HIGHESTMODSEQ \d+\)", line)
        assert b"[NONEXISTENT]" in await c.refused("STATUS Nowhere (MESSAGES)")


async def test_status_is_of_one_moment(house, monkeypatch):
    """Somebody expunges between the mailbox's row and its messages, which are read only for some items."""
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 12\r\n\r\n", b"a: 123\r\n\r\n")
        c, other = await h.login(), await h.login("INBOX")
        store = h.node.store
        read = store.read

        async def slowly(fn, *args, **kw):
            found = await read(fn, *args, **kw)
            if fn.__name__ in ("seen", "_listed"):
                for command in ("STORE 1 +FLAGS.SILENT (\\Deleted)", "EXPUNGE"):
                    await asyncio.create_task(other.ok(command))  # its limit of time wants a task
            return found

        monkeypatch.setattr(store, "read", slowly)
        items = "MESSAGES SIZE DELETED DELETED-STORAGE RECENT UNSEEN"
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        (line,) = await c.ok(f"STATUS INBOX ({items})")
        assert line == b"STATUS INBOX (MESSAGES 2 SIZE 19 DELETED 0 DELETED-STORAGE 0 RECENT 0 UNSEEN 2)"
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        _, line = await c.ok(f'LIST "" INBOX RETURN (STATUS ({items}))')
        assert line == b"STATUS INBOX (MESSAGES 1 SIZE 10 DELETED 0 DELETED-STORAGE 0 RECENT 0 UNSEEN 1)"


async def _known(c):
    """What a client notes of a mailbox to synchronise later: UIDVALIDITY and HIGHESTMODSEQ."""
    told = await c.ok("SELECT INBOX")
    return code(told, b"UIDVALIDITY").decode(), code(told, b"HIGHESTMODSEQ").decode()


async def test_qresync_tells_what_was_missed(house):
    async with house() as h:
        await h.put(*[b"n: %d\r\n\r\n" % n for n in range(10)])
        c = await h.login(enable="QRESYNC")
        uidvalidity, modseq = await _known(c)
        await c.ok("UNSELECT")
        other = await h.login("INBOX")
        await other.ok("STORE 2,5:7 +FLAGS (\\Deleted)")
        await other.ok("EXPUNGE")
        await other.ok("STORE 1 +FLAGS (\\Flagged)")
        await h.put()
        told = await c.ok(f"SELECT INBOX (QRESYNC ({uidvalidity} {modseq}))")
        at = told.index(b"VANISHED (EARLIER) 2,5:7")
        assert re.fullmatch(rb"1 FETCH \(UID 1 FLAGS \(\\Flagged\) MODSEQ \(\d+\)\)", told[at + 1])
        assert told[at + 2].startswith(b"7 FETCH (UID 11 FLAGS (")  # the new one
        assert len(told) == at + 3
        told = await c.ok(f"SELECT INBOX (QRESYNC ({uidvalidity} {modseq} 1:5))")
        assert b"VANISHED (EARLIER) 2,5" in told
        assert not any(b"UID 11" in one for one in told)
        told = await c.ok(f"SELECT INBOX (QRESYNC ({int(uidvalidity) + 1} {modseq}))")
        assert not any(b"VANISHED" in one or b"FETCH" in one for one in told)


async def test_qresync_without_history_tells_every_uid_that_is_not_there(house):
    async with house() as h:
        await h.put(*[b"n: %d\r\n\r\n" % n for n in range(8)])
        c = await h.login(enable="QRESYNC")
        uidvalidity, _ = await _known(c)
        await c.ok("STORE 3:4,8 +FLAGS.SILENT (\\Deleted)")
        await c.ok("EXPUNGE")
        told = await c.ok(f"SELECT INBOX (QRESYNC ({uidvalidity} 1))")
        assert b"VANISHED (EARLIER) 3:4,8" in told
        assert sum(b"FETCH" in one for one in told) == 5
        # Numbers and UIDs that agree spare what lies below them.
        told = await c.ok(f"SELECT INBOX (QRESYNC ({uidvalidity} 1 1:8 (1,2,3,6 1,2,5,8)))")
        assert b"VANISHED (EARLIER) 8" in told


async def test_uid_fetch_with_vanished(house):
    async with house() as h:
        await h.put(*[b"n: %d\r\n\r\n" % n for n in range(6)])
        c = await h.login(enable="QRESYNC")
        _, modseq = await _known(c)
        await c.ok("STORE 2:3 +FLAGS (\\Deleted)")
        told, tagged = await c.do("EXPUNGE")
        assert told == [b"VANISHED 2:3", b"4 RECENT"]
        assert tagged.startswith(b"OK [HIGHESTMODSEQ ")
        told = await c.ok(f"UID FETCH 1:6 (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
        assert told == [b"VANISHED (EARLIER) 2:3"]
        assert (await c.refused(f"FETCH 1:2 (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")).startswith(b"BAD")


async def test_what_still_has_a_number_did_not_vanish_earlier(house):
    async with house() as h:
        await h.put(*[b"n: %d\r\n\r\n" % n for n in range(6)])
        c, other = await h.login(enable="QRESYNC"), await h.login("INBOX")
        _, modseq = await _known(c)
        await c.ok("UID STORE 6 +FLAGS.SILENT (\\Deleted)")
        await c.ok("EXPUNGE")
        await other.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        # (EARLIER) moves no message numbers, RFC 7162 section 3.2.10.1: 2 and 3 go by the other VANISHED.
        told = await c.ok(f"UID FETCH 1:6 (UID) (CHANGEDSINCE {modseq} VANISHED)")
        assert [one for one in told if one.startswith(b"VANISHED")] == [b"VANISHED (EARLIER) 6", b"VANISHED 2:3"]
