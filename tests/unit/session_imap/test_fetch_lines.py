"""FETCH in lines: the same answers as message by message, whatever the rows keep short."""

import asyncio

import pytest

from pillarbox.session.imap_fetch_pages import pages
from pillarbox.store import blobs

ITEMS = "(UID ENVELOPE BODYSTRUCTURE PREVIEW BODY.PEEK[HEADER.FIELDS (Subject TO)])"


@pytest.mark.parametrize(
    ("picks", "found"),
    [
        ([], []),
        ([range(7)], [range(3), range(3, 6), range(6, 7)]),
        ([range(1), range(1, 2), range(4, 5)], [[0, 1, 4]]),
        ([range(2), range(5, 9), range(9, 10)], [range(2), range(5, 8), range(8, 10)]),
    ],
)
def test_pages(picks, found):
    assert list(pages(picks, 3)) == found


async def test_long_values_and_rows_of_older_versions_are_told_all_the_same(house):
    async with house() as h:
        await h.put(b"Subject: short\r\n\tone\r\nReceived: x\r\nTO: a@example.org\r\n\r\ntext one\r\n")
        many = b", ".join(b"someone%d@example.org" % n for n in range(800))
        await h.put(b"To: " + many + b"\r\nSubject: long\r\n\r\ntext two\r\n")
        await h.put(b"Subject: older\r\nTo: b@example.org\r\n\r\ntext three\r\n")
        c = await h.login("INBOX")
        lines = await c.ok(f"FETCH 1,3 {ITEMS}")
        assert len(lines) == 2
        assert (
            b"BODY[HEADER.FIELDS (Subject TO)] {43}\r\nSubject: short\r\n\tone\r\nTO: a@example.org\r\n\r\n)"
            in lines[0]
        )
        every = await c.ok(f"FETCH 1:* {ITEMS}")
        assert [every[0], every[2]] == lines
        assert b"someone799" in every[1].partition(b"BODYSTRUCTURE")[0]
        assert every[1].count(b"someone799@example.org\r\nSubject: long\r\n\r\n)") == 1
        await h.node.store.write(lambda tx: tx.run("UPDATE blobs SET listed = NULL"))
        assert await c.ok(f"FETCH 1:* {ITEMS}") == every


CLIENTS = {
    "mutt": "DATE FROM SENDER SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO "
    "REPLY-TO LINES LIST-POST X-LABEL X-ORIGINAL-TO",
    "Evolution": "DATE FROM TO CC SUBJECT REFERENCES IN-REPLY-TO MESSAGE-ID MIME-VERSION CONTENT-TYPE CONTENT-CLASS "
    "X-CALENDAR-ATTACHMENT X-MAILING-LIST X-LOOP LIST-ID LIST-POST MAILING-LIST ORIGINATOR X-LIST SENDER RETURN-PATH "
    "X-BEENTHERE",
    "K-9": "date subject from content-type to cc bcc reply-to message-id references in-reply-to list-post "
    "list-unsubscribe sender X-K9mail-Identity Chat-Version",
    "Thunderbird": "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To "
    "Content-Type Reply-To",
    "Roundcube": "DATE FROM TO SUBJECT CONTENT-TYPE CC REPLY-TO LIST-POST DISPOSITION-NOTIFICATION-TO X-PRIORITY",
}


@pytest.mark.parametrize("fields", CLIENTS.values(), ids=CLIENTS.keys())
async def test_what_clients_list_is_kept_short_and_older_rows_are_read(house, monkeypatch, fields):
    raw = b"Subject: s\r\nLines: 2\r\nX-Loop: l\r\nX-K9mail-Identity: k\r\nTo: a@b\r\nReceived: x\r\n\r\ntext\r\n"
    async with house() as h:
        await h.put(raw, raw)
        c = await h.login("INBOX")
        items = f"(UID FLAGS BODY.PEEK[HEADER.FIELDS ({fields})])"
        with monkeypatch.context() as patched:
            patched.setattr(blobs, "read_slice", None)  # nothing of the message itself is read
            lines = await c.ok(f"FETCH 1:* {items}")
        assert [b"Subject: s\r\n" in line and b"Received" not in line for line in lines] == [True, True]
        assert all((b"Lines: 2" in line) == ("LINES" in fields) for line in lines)
        older = b"Subject: s\r\nTo: a@b\r\n"  # as it was kept when the list was shorter
        await h.node.store.write(lambda tx: tx.run("UPDATE blobs SET listed = ? WHERE id = 1", (older,)))
        assert await c.ok(f"FETCH 1:* {items}") == lines


async def test_odd_fields_are_told_as_message_by_message(house):
    """One item more, which no line has, takes the other way."""
    headers = (
        b"Subject: n\0ul\r\nTo: \xff\xe9@x\r\n",
        b"SUBJECT :\r\n \r\n\tfolded\r\nsubject: twice\r\nSubject:\r\n",
        b" no field\r\nSubject: second line\r\n",
        b"no field either\r\n folded\r\nTo: a\nSubject: bare\n more\n",
        b"Subject: cr\rTo: no field\r\nX-To: x\r\nTo:x\r\n",
    )
    async with house() as h:
        await h.put(*(header + b"\r\nbody\r\n" for header in headers))
        c = await h.login("INBOX")
        item = "BODY.PEEK[HEADER.FIELDS (To SUBJECT)]"
        for number in range(1, len(headers) + 1):
            (line,) = await c.ok(f"FETCH {number} ({item})")
            (told,) = await c.ok(f"FETCH {number} ({item} EMAILID)")
            assert line == told.partition(b" EMAILID")[0] + b")" and b"\0" not in line


async def test_a_section_without_peek_sets_seen_and_one_with_it_does_not(house):
    async with house() as h:
        await h.put(b"Subject: a\r\n\r\n")
        c = await h.login("INBOX")
        await c.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
        assert await c.ok("SEARCH UNSEEN") == [b"SEARCH 1"]
        (told,) = await c.ok("FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]")
        assert told.endswith(b"FLAGS (\\Seen \\Recent))") or b"\\Seen" in told
        assert await c.ok("SEARCH UNSEEN") == [b"SEARCH"]


async def test_one_that_has_gone_for_good_is_said_and_the_others_are_told(house):
    async with house() as h:
        for _ in range(3):
            await h.put(b"Subject: a\r\n\r\n")
        c, other = await asyncio.gather(h.login("INBOX"), h.login("INBOX"))
        await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        told = await c.ok("FETCH 1:3 ENVELOPE")
        assert [line.split(b" ")[0] for line in told if b"ENVELOPE" in line] == [b"1", b"2", b"3"]
        await h.node.store.write(lambda tx: tx.run("UPDATE expunged SET blob_id = NULL, expunged_at = NULL"))
        assert b"EXPUNGEISSUED" in await c.refused("FETCH 1:3 ENVELOPE")
