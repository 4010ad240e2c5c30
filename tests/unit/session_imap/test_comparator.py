"""COMPARATOR (RFC 5255): what SEARCH, SORT and THREAD find and how they order it."""

import pytest


def letter(subject, sender="a@example.org", body="x", date=1):
    head = f"From: {sender}\r\nSubject: {subject}\r\nDate: Mon, {date} Feb 2021 10:00:00 +0000\r\n"
    return (head + "Content-Type: text/plain; charset=utf-8\r\n\r\n" + body + "\r\n").encode()


@pytest.fixture
async def box(house):
    async with house() as h:
        await h.put(
            letter("Élan", body="Ärger im Büro", date=1),
            letter("élan", sender="B@example.org", body="ärger im büro", date=2),
            letter("ELAN", sender="c@example.org", date=3),
            letter("elan", sender="A@example.org", date=4),
        )
        yield await h.login("INBOX")


async def found(box, keys):
    (told,) = await box.ok(f"SEARCH CHARSET UTF-8 {keys}".encode())
    return told.removeprefix(b"SEARCH").split()


async def test_the_command(box):
    assert await box.ok("COMPARATOR") == [b"COMPARATOR i;unicode-casemap"]
    assert await box.ok('COMPARATOR "cz;*" -i;octet') == [b"COMPARATOR -i;octet"]
    assert await box.ok("COMPARATOR") == [b"COMPARATOR -i;octet"]
    assert await box.ok('COMPARATOR "i;*"') == [
        b"COMPARATOR i;unicode-casemap (i;unicode-casemap i;ascii-casemap i;octet)"
    ]
    assert b"NO [BADCOMPARATOR]" in await box.refused('COMPARATOR i;ascii-numeric "cz;*"')
    assert await box.ok("COMPARATOR") == [b"COMPARATOR i;unicode-casemap"]
    await box.ok("COMPARATOR i;octet")
    await box.ok("UNAUTHENTICATE")
    await box.ok("LOGIN ada@example.com secret")
    assert await box.ok("COMPARATOR") == [b"COMPARATOR i;unicode-casemap"]


@pytest.mark.parametrize(
    ("order", "subject", "header", "sender", "body", "text"),
    [
        ("default", "1 2", "1 2", "1 4", "1 2", "1 2"),
        ("i;ascii-casemap", "2", "2", "1 4", "2", "1 2"),
        ("i;octet", "2", "2", "1", "2", "2"),
    ],
)
async def test_search(box, order, subject, header, sender, body, text):
    await box.ok(f"COMPARATOR {order}")
    assert await found(box, 'SUBJECT "élan"') == subject.encode().split()
    assert await found(box, 'HEADER SUBJECT "él"') == header.encode().split()
    assert await found(box, "FROM a@example") == sender.encode().split()
    assert await found(box, 'BODY "ärger im"') == body.encode().split()
    assert await found(box, 'TEXT "büro"') == text.encode().split()


async def test_other_comparators_look_for_substrings_everywhere(box):
    assert await found(box, 'BODY "ger im b"') == []  # by words
    await box.ok("COMPARATOR i;ascii-casemap")
    assert await found(box, 'BODY "GER IM b"') == [b"1", b"2"]
    assert await found(box, 'NOT BODY "GER IM b"') == [b"3", b"4"]
    assert await found(box, 'FUZZY BODY "BÜRO"') == []
    assert await found(box, 'OR SUBJECT "ELAN" BODY "büro"') == [b"1", b"2", b"3", b"4"]


async def test_sort(box):
    assert await box.ok("SORT (SUBJECT) UTF-8 ALL") == [b"SORT 3 4 1 2"]
    await box.ok("COMPARATOR i;octet")
    assert await box.ok("SORT (SUBJECT) UTF-8 ALL") == [b"SORT 3 4 1 2"]
    assert await box.ok("SORT (FROM) UTF-8 ALL") == [b"SORT 4 2 1 3"]
    assert await box.ok("SORT (DISPLAYFROM) UTF-8 ALL") == [b"SORT 4 2 1 3"]
    await box.ok("COMPARATOR -i;octet")
    assert await box.ok("SORT (FROM) UTF-8 ALL") == [b"SORT 3 1 2 4"]
    assert await box.ok("SORT (REVERSE FROM) UTF-8 ALL") == [b"SORT 4 2 1 3"]
    assert await box.ok("SORT (DATE) UTF-8 ALL") == [b"SORT 1 2 3 4"]


async def test_thread(box):
    assert await box.ok("THREAD ORDEREDSUBJECT UTF-8 ALL") == [b"THREAD (1 2)(3 4)"]
    await box.ok("COMPARATOR i;ascii-casemap")
    assert await box.ok("THREAD ORDEREDSUBJECT UTF-8 ALL") == [b"THREAD (1)(2)(3 4)"]
    assert await box.ok("THREAD REFERENCES UTF-8 ALL") == [b"THREAD (1)(2)((3)(4))"]
    await box.ok("COMPARATOR i;octet")
    assert await box.ok("THREAD REFERENCES UTF-8 ALL") == [b"THREAD (1)(2)(3)(4)"]


async def test_a_result_that_is_kept_up_to_date_keeps_its_comparator(box, house):
    await box.ok("COMPARATOR i;octet")
    assert (await box.ok("SEARCH RETURN (UPDATE ALL) SUBJECT elan"))[0].endswith(b"ALL 4")
    await box.ok("COMPARATOR default")
    told = await box.ok("STORE 3:4 +FLAGS (\\Flagged)")
    assert not any(b"ADDTO" in one or b"REMOVEFROM" in one for one in told)
