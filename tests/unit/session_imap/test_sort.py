"""SORT, THREAD, ESORT and PARTIAL over loopback."""

import re

import pytest

DAY = 86400


def letter(sender, to, subject, date, ids):
    message_id, references = ids
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{message_id}@x>\r\n"
        + (f"References: <{references}@x>\r\n" if references else "")
        + "\r\nhello\r\n"
    ).encode()


@pytest.fixture
async def box(house):
    async with house() as h:
        await h.put(letter("Zoe <bob@x>", "b@x", "lunch", "Mon, 7 Feb 2022 10:00:00 +0000", ["1", ""]), date=5)
        await h.put(letter("amy@x", "a@x", "Re: Dinner", "Sun, 6 Feb 2022 23:00:00 -0800", ["2", "9"]), date=4)
        await h.put(letter("Émile <cy@x>", "c@x", "Re: lunch", "Mon, 7 Feb 2022 11:00:00 +0000", ["3", "1"]), date=3)
        await h.put(letter("Anna <zed@x>", "a@x", "dinner " + "x" * 300, "garbage", ["4", "9"]), date=2 * DAY)
        yield await h.login("INBOX")


async def test_every_criterion(box):
    for criteria, order in {
        "ARRIVAL": "3 2 1 4",
        "DATE": "4 2 1 3",  # 4 has none: its internal date
        "REVERSE DATE": "3 1 2 4",
        "FROM": "2 1 3 4",
        "DISPLAYFROM": "2 4 3 1",
        "TO REVERSE ARRIVAL": "4 2 1 3",
        "DISPLAYTO ARRIVAL": "2 4 1 3",
        "CC": "1 2 3 4",
        "SUBJECT DATE": "2 4 1 3",
        "SIZE": None,
    }.items():
        (response,) = await box.ok(f"SORT ({criteria}) UTF-8 ALL")
        if order is not None:
            assert response == b"SORT " + order.encode(), criteria
    assert await box.ok("UID SORT (REVERSE ARRIVAL) US-ASCII 1:2") == [b"SORT 1 2"]
    assert await box.ok("SORT (DATE) UTF-8 DELETED") == [b"SORT"]


async def test_sort_with_modseq(box):
    (response,) = await box.ok("SORT (ARRIVAL) UTF-8 MODSEQ 1")
    assert re.fullmatch(rb"SORT 3 2 1 4 \(MODSEQ \d+\)", response)


async def untagged(box, command):
    (response,) = await box.ok(command)
    return re.sub(rb'\(TAG "t\d+"\)', b"(TAG)", response)


async def test_esort(box):
    assert await untagged(box, "SORT RETURN () (ARRIVAL) UTF-8 ALL") == b"ESEARCH (TAG) ALL 3,2,1,4"
    assert await untagged(box, "UID SORT RETURN (MIN MAX COUNT) (ARRIVAL) UTF-8 ALL") == (
        b"ESEARCH (TAG) UID MIN 3 MAX 4 COUNT 4"
    )
    assert await untagged(box, "SORT RETURN (PARTIAL 2:3) (ARRIVAL) UTF-8 ALL") == b"ESEARCH (TAG) PARTIAL (2:3 2,1)"
    await box.ok("SORT RETURN (SAVE PARTIAL 1:1) (ARRIVAL) UTF-8 ALL")
    assert await box.ok("FETCH $ UID") == [b"3 FETCH (UID 3)"]


async def test_partial(box):
    assert await untagged(box, "UID SEARCH RETURN (PARTIAL -1:-2 COUNT) ALL") == (
        b"ESEARCH (TAG) UID COUNT 4 PARTIAL (-1:-2 3:4)"
    )
    assert await untagged(box, "SEARCH RETURN (PARTIAL 9:12) ALL") == b"ESEARCH (TAG) PARTIAL (9:12 NIL)"
    assert await box.ok("UID FETCH 1:* (UID) (PARTIAL -1:-2)") == [b"3 FETCH (UID 3)", b"4 FETCH (UID 4)"]
    assert await box.ok("UID FETCH 1,3:4 (UID) (PARTIAL 1:2)") == [b"1 FETCH (UID 1)", b"3 FETCH (UID 3)"]
    assert await box.ok("UID FETCH 1:* (UID) (PARTIAL 7:9)") == []


async def test_thread(box):
    assert await box.ok("THREAD REFERENCES UTF-8 ALL") == [b"THREAD ((4)(2))(1 3)"]
    assert await box.ok("UID THREAD REFERENCES UTF-8 2:3") == [b"THREAD (2)(3)"]
    assert await box.ok("THREAD ORDEREDSUBJECT UTF-8 ALL") == [b"THREAD (4)(2)(1 3)"]
    assert await box.ok("THREAD ORDEREDSUBJECT UTF-8 DELETED") == [b"THREAD"]


async def test_what_is_expunged_meanwhile_is_still_sorted(box, house):
    await box.ok("STORE 3 +FLAGS.SILENT (\\Deleted)")
    await box.ok("EXPUNGE")
    assert await box.ok("SORT (REVERSE ARRIVAL) UTF-8 ALL") == [b"SORT 3 1 2"]


async def test_more_charsets(box):
    assert await box.ok("SORT (ARRIVAL) KOI8-R FROM {}", "Émile".encode("latin-1")) == [b"SORT"]
    assert await box.ok("SEARCH CHARSET ISO-8859-1 FROM {}", "émile".encode("latin-1")) == [b"SEARCH 3"]
    assert b"NO [BADCHARSET" in await box.refused("SEARCH CHARSET utf-7 SUBJECT x")
