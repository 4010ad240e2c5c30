"""ESEARCH over several mailboxes, UIDBATCHES, FUZZY."""

import re

import pytest

from pillarbox.session import imap_multisearch


def letter(subject, body):
    return f"From: Bob <bob@example.org>\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


@pytest.fixture
async def box(house):
    async with house() as h:
        c = await h.login()
        await c.ok("CREATE Work")
        await c.ok("CREATE Work/Old")
        await h.put(letter("Lunch", "no"), letter("Dinner", "the meeting about lunch"))
        await h.put(letter("x", "no"), letter("y", "our lunch"), letter("z", "late lunches"), mailbox="Work")
        await h.put(letter("x", "nothing"), mailbox="Work/Old")
        yield c


async def searched(c, command):
    return sorted(
        re.sub(rb"UIDVALIDITY \d+", b"UIDVALIDITY", re.sub(rb'TAG "t\d+"', b"TAG", response))
        for response in await c.ok(command)
    )


async def test_several_mailboxes(box):
    assert await searched(box, "ESEARCH IN (personal) BODY lunch") == [
        b"ESEARCH (TAG MAILBOX INBOX UIDVALIDITY) UID ALL 2",
        b"ESEARCH (TAG MAILBOX Work UIDVALIDITY) UID ALL 2:3",
    ]
    assert await searched(box, "ESEARCH IN (inboxes subtree Work) RETURN (COUNT MIN) BODY lunch") == [
        b"ESEARCH (TAG MAILBOX INBOX UIDVALIDITY) UID MIN 2 COUNT 1",
        b"ESEARCH (TAG MAILBOX Work UIDVALIDITY) UID MIN 2 COUNT 2",
    ]
    assert await searched(box, 'ESEARCH IN (mailboxes ("Work" gone)) SUBJECT x') == [
        b"ESEARCH (TAG MAILBOX Work UIDVALIDITY) UID ALL 1"
    ]


async def test_the_selected_mailbox(box):
    assert (await box.refused("ESEARCH IN (selected) ALL")).startswith(b"BAD")
    assert (await box.refused("ESEARCH ALL")).startswith(b"BAD")
    await box.ok("SELECT Work")
    assert await searched(box, "ESEARCH RETURN (SAVE COUNT) 2:*") == [
        b"ESEARCH (TAG MAILBOX Work UIDVALIDITY) UID COUNT 2"
    ]
    assert await box.ok("FETCH $ UID") == [b"2 FETCH (UID 2)", b"3 FETCH (UID 3)"]
    assert await searched(box, "ESEARCH IN (selected personal) SUBJECT x") == [
        b"ESEARCH (TAG MAILBOX Work UIDVALIDITY) UID ALL 1",
        b"ESEARCH (TAG MAILBOX Work/Old UIDVALIDITY) UID ALL 1",
    ]


async def test_others_mail_is_not_searched(box, house):
    assert await box.ok("ESEARCH IN (mailboxes bob@example.com) ALL") == []


async def test_fuzzy(box):
    async def fuzzy(command):
        return [re.sub(rb'TAG "t\d+"', b"TAG", one) for one in await box.ok(command)]

    await box.ok("SELECT Work")
    assert await box.ok('SEARCH BODY "lunch late"') == [b"SEARCH"]
    assert await box.ok('SEARCH FUZZY BODY "lunches late"') == [b"SEARCH 3"]
    assert await fuzzy('SEARCH RETURN (RELEVANCY ALL) FUZZY BODY "lunches"') == [
        b"ESEARCH (TAG) ALL 2:3 RELEVANCY (50 100)"
    ]
    assert await box.ok("SORT (RELEVANCY) UTF-8 FUZZY BODY lunches") == [b"SORT 3 2"]
    assert await fuzzy("SEARCH RETURN (RELEVANCY PARTIAL 1:1) ALL") == [
        b"ESEARCH (TAG) PARTIAL (1:1 1) RELEVANCY (100)"
    ]
    assert await box.ok("SEARCH FUZZY SUBJECT zebra") == [b"SEARCH"]


async def test_uid_batches(house):
    async with house() as h:
        await h.put(*[letter("x", "y")] * 1105)
        c = await h.login("INBOX")
        await c.ok("STORE 1:4,600 +FLAGS.SILENT (\\Deleted)")
        await c.ok("EXPUNGE")
        await c.ok("UID SEARCH RETURN (SAVE) UID 7")

        async def batches(command):
            (response,) = await c.ok(command)
            return re.sub(rb'TAG "t\d+"', b"TAG", response)

        assert await batches("UIDBATCHES 500") == b"UIDBATCHES (TAG) 1105:606,605:105,104:1"
        assert await batches("UIDBATCHES 550") == b"UIDBATCHES (TAG) 1105:555,554:1"
        assert await batches("UIDBATCHES 1099") == b"UIDBATCHES (TAG) 1105:6,5:1"  # one message is a range too
        assert await batches("UIDBATCHES 500 2:2") == b"UIDBATCHES (TAG) 605:105"
        assert await batches("UIDBATCHES 500 2:4294967295") == b"UIDBATCHES (TAG) 605:105,104:1"
        assert await batches("UIDBATCHES 500 9:10") == b"UIDBATCHES (TAG)"
        assert await batches("UIDBATCHES 4294967295") == b"UIDBATCHES (TAG) 1105:1"
        assert await c.ok("UID FETCH $ UID") == [b"3 FETCH (UID 7)"]  # RFC 10022 section 3.4
        await c.ok("SELECT Sent")
        assert await batches("UIDBATCHES 500") == b"UIDBATCHES (TAG)"


async def test_uid_batches_that_are_refused(house, monkeypatch):
    async with house() as h:
        await h.put(*[letter("x", "y")] * 1001)
        c = await h.login("INBOX")
        assert (await c.refused("UIDBATCHES 499")).startswith(b"NO [TOOFEW]")
        assert (await c.refused("UIDBATCHES 500 3:2")).startswith(b"BAD [CLIENTBUG]")
        monkeypatch.setattr(imap_multisearch, "MOST_BATCHES", 2)
        assert (await c.refused("UIDBATCHES 500")).startswith(b"NO [TOOMANY]")
        await c.ok("UIDBATCHES 500 2:9")


async def test_what_others_share_is_searched_as_long_as_it_may_be_read(house):
    async with house() as h:
        await h.put(letter("x", "our lunch"))
        await h.put(letter("y", "our lunch"), mailbox="Sent")
        ada, bob = await h.login(), await h.login(user="bob@example.com")
        await ada.ok("SETACL INBOX bob@example.com lr")
        await ada.ok("SETACL Sent bob@example.com l")
        there = "Other Users/ada@example.com"
        for sources in (f'mailboxes ("{there}/INBOX" "{there}/Sent")', f'subtree "{there}"', 'subtree ""'):
            assert await searched(bob, f"ESEARCH IN ({sources}) BODY lunch") == [
                f'ESEARCH (TAG MAILBOX "{there}/INBOX" UIDVALIDITY) UID ALL 1'.encode()
            ]
        assert await searched(bob, "ESEARCH IN (personal inboxes) BODY lunch") == []
        await ada.ok("SETACL INBOX bob@example.com l")
        assert await searched(bob, 'ESEARCH IN (subtree "") BODY lunch') == []
