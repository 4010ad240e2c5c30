"""NOTIFY and the selected mailbox: told at once, or not at all, outside of IDLE and in it."""

import re
import zlib

from house import MESSAGE
from pillarbox.imap.flags import FLAGGED, SEEN
from unit.session_imap.notify_client import listening, silent, told

MESSAGES = "(selected (MessageNew MessageExpunge))"
FLAGS = "(selected (MessageNew MessageExpunge FlagChange))"


def plain(responses):
    return [re.sub(rb"(MODSEQ) \(\d+\)", rb"\1 n", one) for one in responses]


async def test_everything_is_told_between_commands(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c = await listening(h, FLAGS, "INBOX", enable="IMAP4rev2")
        other = await h.login("INBOX")
        await h.put()
        assert await told(c) == [b"3 EXISTS"]
        await other.ok("STORE 2 +FLAGS (\\Flagged)")
        assert await told(c) == [b"2 FETCH (UID 2 FLAGS (\\Flagged))"]
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        assert await told(c) == [b"1 FETCH (UID 1 FLAGS (\\Deleted))"]
        await other.ok("EXPUNGE")
        assert await told(c) == [b"1 EXPUNGE"]
        assert await c.ok("STORE 1 +FLAGS (\\Seen)") == [b"1 FETCH (UID 2 FLAGS (\\Flagged \\Seen))"]
        assert await silent(h, c)


async def test_flags_only_if_they_were_asked_for(house):
    async with house() as h:
        await h.put()
        c = await listening(h, MESSAGES, "INBOX", enable="IMAP4rev2")
        other = await h.login("INBOX")
        await other.ok("STORE 1 +FLAGS (\\Flagged)")
        assert await silent(h, c)
        assert await c.ok("NOOP") == []
        assert await c.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS (\\Flagged))"]
        assert await c.ok("STORE 1 +FLAGS (\\Seen)") == [b"1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))"]
        await h.put()
        assert await told(c) == [b"2 EXISTS"]


async def test_annotations_only_if_they_were_asked_for(house):
    async with house() as h:
        await h.put()
        events = "MessageNew MessageExpunge FlagChange"
        c = await listening(h, f"(selected ({events} AnnotationChange))", "INBOX", enable="IMAP4rev2")
        without = await listening(h, f"(selected ({events}))", "INBOX", enable="IMAP4rev2")
        elsewhere = await listening(h, f"(personal ({events} AnnotationChange))", enable="CONDSTORE")
        other = await h.login("INBOX")
        await other.ok('STORE 1 ANNOTATION (/comment (value.shared "x"))')
        (told_here,) = await told(c)
        assert told_here.startswith(b"1 FETCH (UID 1 ")
        assert b"ANNOTATION (/comment)" in told_here
        assert b"ANNOTATION" not in b"".join(await without.ok("NOOP"))
        assert (await told(elsewhere))[0].startswith(b"STATUS INBOX (UIDVALIDITY ")


async def test_new_messages_come_with_what_was_asked_for(house):
    attributes = "(uid flags body.peek[header.fields (SUBJECT)])"
    async with house() as h:
        c = await listening(h, f"(selected (MessageNew {attributes} MessageExpunge))", "INBOX", enable="IMAP4rev2")
        await h.put(flags=FLAGGED)
        told_first = [
            b"1 EXISTS",
            b"1 FETCH (UID 1 FLAGS (\\Flagged) BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: Lunch\r\n\r\n)",
        ]
        assert await told(c, 2) == told_first
        literal = b"Subject: mine\r\n\r\nx\r\n"
        assert await c.ok("APPEND INBOX {}", literal) == [b"2 EXISTS"]  # no FETCH of one's own
        assert await c.ok("COPY 1 INBOX") == [b"3 EXISTS"]
        other = await h.login()
        await other.ok("APPEND INBOX {}", literal)
        assert (await told(c, 2))[1].startswith(b"4 FETCH (UID 4 FLAGS () BODY[HEADER.FIELDS (SUBJECT)] {17}")
        await h.put(MESSAGE, MESSAGE)
        assert [one.split(b" (")[0] for one in await told(c, 3)] == [b"6 EXISTS", b"5 FETCH", b"6 FETCH"]
        assert await silent(h, c)


async def test_what_is_pushed_is_not_marked_as_seen(house):
    async with house() as h:
        c = await listening(h, "(selected (MessageNew (body[text]) MessageExpunge))", "INBOX", enable="IMAP4rev2")
        await h.put()
        assert (await told(c, 2))[1] == b"1 FETCH (BODY[TEXT] {18}\r\nHow about lunch?\r\n)"
        assert await c.ok("FETCH 1 FLAGS") == [b"1 FETCH (FLAGS ())"]


async def test_the_numbers_that_qresync_wants(house):
    async with house() as h:
        await h.put()
        c = await listening(
            h, "(selected (MessageNew (flags) MessageExpunge FlagChange))", "INBOX", enable="QRESYNC IMAP4rev2"
        )
        await h.put()
        assert plain(await told(c, 2)) == [b"2 EXISTS", b"2 FETCH (UID 2 FLAGS () MODSEQ n)"]
        other = await h.login("INBOX")
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        assert plain(await told(c)) == [b"1 FETCH (UID 1 FLAGS (\\Deleted) MODSEQ n)"]
        await other.ok("EXPUNGE")
        assert await told(c) == [b"VANISHED 1"]


async def test_no_numbers_with_uidonly(house):
    async with house() as h:
        await h.put()
        c = await listening(
            h, "(selected (MessageNew (flags) MessageExpunge FlagChange))", "INBOX", enable="UIDONLY IMAP4rev2"
        )
        await h.put()
        assert await told(c, 2) == [b"2 EXISTS", b"2 UIDFETCH (FLAGS ())"]
        other = await h.login("INBOX")
        await other.ok("STORE 2 +FLAGS (\\Deleted)")
        assert await told(c) == [b"2 UIDFETCH (FLAGS (\\Deleted))"]
        await other.ok("EXPUNGE")
        assert await told(c) == [b"VANISHED 2"]


async def test_delayed_expunges_wait_for_a_command_that_allows_them(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE, MESSAGE)
        c = await listening(h, FLAGS.replace("selected", "selected-delayed"), "INBOX", enable="IMAP4rev2")
        other = await h.login("INBOX")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await told(c)
        await other.ok("EXPUNGE")
        await h.put()
        assert await told(c) == [b"4 EXISTS"]  # the expunged one counts until it may be told
        assert await c.ok("FETCH 3 UID") == [b"3 FETCH (UID 3)"]
        assert await c.ok("NOOP") == [b"1 EXPUNGE"]
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await told(c)
        await other.ok("EXPUNGE")
        assert await c.ok("FETCH 2 UID") == [b"2 FETCH (UID 3)"]
        await c.send(b"i IDLE\r\n")
        assert await told(c, 2) == [b"+ idling", b"1 EXPUNGE"]
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await told(c)
        await other.ok("EXPUNGE")
        assert await told(c) == [b"1 EXPUNGE"]
        await c.send(b"DONE\r\n")
        assert await c.until(b"i") == [b"i OK IDLE ended"]


async def test_immediate_expunges_do_not_wait(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c = await listening(h, MESSAGES, "INBOX", enable="IMAP4rev2")
        session = next(one for one in h.node.sessions if one.notify is not None)
        session._timer = session._loop.call_later(60, lambda: None)  # nothing is pushed
        other = await h.login("INBOX")
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        await other.ok("EXPUNGE")
        assert await c.ok("FETCH 1 UID") == [b"1 EXPUNGE", b"1 FETCH (UID 2)"]


async def test_the_view_stays_when_no_news_are_wanted(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c = await h.login("INBOX", enable="IMAP4rev2")
        await c.ok("NOTIFY SET (personal (MailboxName))")  # SELECTED is not mentioned: as with NONE
        other = await h.login("INBOX")
        await h.put()
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        await other.ok("EXPUNGE")
        assert await c.ok("NOOP") == []
        assert await c.ok("UID FETCH 1:* UID") == [b"1 FETCH (UID 1)", b"2 FETCH (UID 2)"]
        assert await c.ok("STORE 2 +FLAGS (\\Seen)") == [b"2 FETCH (UID 2 FLAGS (\\Seen))"]
        await c.send(b"i IDLE\r\nDONE\r\n")
        assert await c.until(b"i") == [b"+ idling", b"i OK IDLE ended"]
        assert await c.ok("NOTIFY NONE") == [b"1 EXPUNGE", b"2 EXISTS"]  # the command brings what has accumulated
        await h.put()
        assert await c.ok("STORE 2 +FLAGS.SILENT (\\Deleted)") == []
        # What is changed here is told, and with it what others did.
        assert await c.ok("EXPUNGE") == [b"2 EXPUNGE", b"2 EXISTS"]
        await h.put(flags=SEEN)
        assert (await c.ok("SELECT INBOX"))[2] == b"3 EXISTS"


async def test_idle_tells_what_notify_asked_for(house):
    async with house() as h:
        await h.put()
        c = await listening(h, f"{MESSAGES} (personal (MessageNew MessageExpunge))", "INBOX", enable="IMAP4rev2")
        other = await h.login("INBOX")
        await c.send(b"i IDLE\r\n")
        assert await told(c) == [b"+ idling"]
        await other.ok("STORE 1 +FLAGS (\\Flagged)")
        await h.put(mailbox="Sent")
        assert (await told(c))[0].startswith(b"STATUS Sent (MESSAGES 1 ")
        await h.put()
        assert await told(c) == [b"2 EXISTS"]
        await c.send(b"DONE\r\n")
        assert await c.until(b"i") == [b"i OK IDLE ended"]


async def test_searches_are_kept_up_to_date_with_what_was_asked_for(house):
    async with house() as h:
        await h.put(flags=FLAGGED)
        c = await listening(h, "(selected (MessageNew (uid) MessageExpunge FlagChange))", "INBOX", enable="IMAP4rev2")
        search = "UID SEARCH RETURN (COUNT UPDATE (uid flags body.peek[header.fields (SUBJECT)])) FLAGGED"
        await c.ok(search)
        await h.put(flags=FLAGGED)
        assert [re.sub(rb'"\w+"', b"TAG", one) for one in await told(c, 3)] == [
            b"2 EXISTS",
            b"2 FETCH (UID 2 FLAGS (\\Flagged) BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: Lunch\r\n\r\n)",
            b"ESEARCH (TAG TAG) UID ADDTO (0 2)",
        ]
        await h.put()
        assert await told(c, 2) == [b"3 EXISTS", b"3 FETCH (UID 3)"]
        other = await h.login("INBOX")
        await other.ok("STORE 3 +FLAGS (\\Flagged)")  # it comes in by its flags: no more is told of it
        assert [re.sub(rb'"\w+"', b"TAG", one) for one in await told(c, 2)] == [
            b"3 FETCH (UID 3 FLAGS (\\Flagged))",
            b"ESEARCH (TAG TAG) UID ADDTO (0 3)",
        ]


async def test_the_items_of_a_context_without_notify(house):
    async with house() as h:
        c = await h.login("INBOX", enable="IMAP4rev2")
        await c.ok("UID SEARCH RETURN (UPDATE(flags)) FLAGGED")
        await h.put(flags=FLAGGED)
        assert [re.sub(rb'"\w+"', b"TAG", one) for one in await c.ok("NOOP")] == [
            b"1 EXISTS",
            b"1 FETCH (FLAGS (\\Flagged))",
            b"ESEARCH (TAG TAG) UID ADDTO (0 1)",
        ]


async def test_news_are_compressed_like_everything(house):
    async with house() as h:
        await h.put()
        c = await listening(h, FLAGS, "INBOX", enable="IMAP4rev2")
        await c.ok("COMPRESS DEFLATE")
        await h.put()
        inflate = zlib.decompressobj(-15)
        assert inflate.decompress(await c.reader.readuntil(b"\x00\x00\xff\xff")) == b"* 2 EXISTS\r\n"
