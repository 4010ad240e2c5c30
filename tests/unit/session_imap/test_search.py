"""SEARCH over loopback: every key, ESEARCH, SEARCHRES, charsets; plans against a naive evaluation."""

import re
import threading
from array import array
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap import search
from pillarbox.imap.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from pillarbox.imap.sequence import SequenceSet
from pillarbox.session.imap_search_plan import indexes, plan
from pillarbox.session.imap_search_text import matching
from pillarbox.session.imap_selected import Selected
from pillarbox.store.errors import Busy
from pillarbox.store.records import View

DAY = 86400


def letter(subject="x", body="", date="Mon, 7 Feb 2022 21:52:25 -0800", extra=""):
    return (
        f"From: Bob Builder <bob@example.org>\r\nTo: ada@example.com\r\nSubject: {subject}\r\nDate: {date}\r\n"
        f"{extra}\r\n{body}\r\n"
    ).encode()


@pytest.fixture
async def box(house):
    async with house() as h:
        await h.put(letter("Lunch today", "Meet at the CAFÉ"), flags=SEEN | ANSWERED, date=10 * DAY + 5)
        await h.put(letter("=?utf-8?q?=C3=9Cbung?=", "nothing here"), flags=FLAGGED, date=11 * DAY, keywords=("$Junk",))
        await h.put(letter("Third", "x" * 5000, "Tue, 8 Feb 2022 01:00:00 +0900"), flags=DELETED | DRAFT, date=12 * DAY)
        await h.put(
            letter(
                "Html", extra="MIME-Version: 1.0\r\nContent-Type: text/html\r\nX-Spam: yes\r\n", body="<b>bold</b>move"
            ),
            date=13 * DAY,
        )
        yield await h.login("INBOX")


KEYS_AND_FOUND = {
    "ALL": "1 2 3 4",
    "ANSWERED": "1",
    "UNANSWERED SEEN": "",
    "UNSEEN": "2 3 4",
    "DELETED DRAFT": "3",
    "UNDELETED UNDRAFT UNFLAGGED": "1 4",
    "KEYWORD $junk": "2",
    "UNKEYWORD $Junk": "1 3 4",
    "NEW": "2 3 4",
    "OLD": "",
    "2:3": "2 3",
    "*": "4",
    "UID 1,4:9": "1 4",
    "NOT 2:3": "1 4",
    "OR SEEN FLAGGED": "1 2",
    "OR SEEN OR FLAGGED DELETED": "1 2 3",
    "(OR SEEN FLAGGED) NOT 1": "2",
    "OLDER 86400": "1 2 3 4",
    "YOUNGER 86400": "",
    "LARGER 1000": "3",
    "SMALLER 1000": "1 2 4",
    "BEFORE 12-Jan-1970": "1",
    "ON 12-Jan-1970": "2",
    "SINCE 12-Jan-1970": "2 3 4",
    "SENTON 7-Feb-2022": "1 2 4",
    "SENTSINCE 8-Feb-2022": "3",
    "SENTBEFORE 8-Feb-2022": "1 2 4",
    "SUBJECT lunch": "1",
    'FROM "bob builder"': "1 2 3 4",
    "FROM bob@example.org TO ada": "1 2 3 4",
    "CC ada": "",
    'HEADER X-Spam ""': "4",
    "HEADER X-Spam YE": "4",
    "BODY nothing": "2",
    "BODY boldmove": "4",
    "TEXT x-spam": "4",
    "TEXT lunch": "1",
    "BODY lunch": "",
    "OR BODY nothing SUBJECT third": "2 3",
    "NOT BODY nothing": "1 3 4",
    "NOT (UNSEEN BODY nothing)": "1 3 4",
    "SEEN OR BODY nothing SUBJECT lunch": "1",
}


async def test_keys(box):
    for keys, found in KEYS_AND_FOUND.items():
        assert await box.ok(f"SEARCH {keys}") == [f"SEARCH {found}".strip().encode()], keys


async def test_charsets(box):
    assert await box.ok("SEARCH CHARSET UTF-8 SUBJECT {}", "übung".encode()) == [b"SEARCH 2"]
    assert await box.ok("SEARCH CHARSET UTF-8 BODY {}", "café".encode()) == [b"SEARCH 1"]
    assert b"NO [BADCHARSET" in await box.refused("SEARCH CHARSET X-KLINGON SUBJECT x")


async def test_a_message_number_that_is_not_there_matches_nothing(box):
    assert await box.ok("SEARCH 9") == [b"SEARCH"]
    assert await box.ok("UID SEARCH UID 9") == [b"SEARCH"]


async def test_esearch(box):
    async def esearch(command):
        (response,) = await box.ok(command)
        return re.sub(rb'\(TAG "t\d+"\)', b"(TAG)", response)

    assert await esearch("SEARCH RETURN () UNSEEN") == b"ESEARCH (TAG) ALL 2:4"
    assert await esearch("UID SEARCH RETURN (MIN MAX COUNT) UNSEEN") == b"ESEARCH (TAG) UID MIN 2 MAX 4 COUNT 3"
    assert await esearch("SEARCH RETURN (ALL COUNT) KEYWORD nothing") == b"ESEARCH (TAG) COUNT 0"
    assert await esearch("SEARCH RETURN (MIN ALL) KEYWORD nothing") == b"ESEARCH (TAG)"
    assert re.fullmatch(rb"ESEARCH \(TAG\) MIN 1 MODSEQ \d+", await esearch("SEARCH RETURN (MIN) MODSEQ 1"))


async def test_rev2_answers_with_esearch(house):
    async with house() as h:
        await h.put()
        c = await h.login("INBOX", enable="IMAP4rev2")
        (response,) = await c.ok("SEARCH ALL")
        assert response.startswith(b"ESEARCH (TAG ")
        assert response.endswith(b" ALL 1")


async def test_modseq(box):
    (response,) = await box.ok("SEARCH MODSEQ 1")
    highest = int(re.fullmatch(rb"SEARCH 1 2 3 4 \(MODSEQ (\d+)\)", response)[1])
    await box.ok("STORE 2 +FLAGS.SILENT (\\Answered)")
    assert await box.ok(f"SEARCH MODSEQ {highest + 1}") == [b"SEARCH 2 (MODSEQ %d)" % (highest + 1)]
    assert await box.ok(f"SEARCH MODSEQ {highest + 100}") == [b"SEARCH"]


async def test_saved_results(box):
    assert await box.ok("SEARCH RETURN (SAVE) UNSEEN") == []
    assert await box.ok("FETCH $ UID") == [b"2 FETCH (UID 2)", b"3 FETCH (UID 3)", b"4 FETCH (UID 4)"]
    assert await box.ok("SEARCH RETURN (ALL) $ FLAGGED") != []
    assert len(await box.ok("UID FETCH $ FLAGS")) == 3
    await box.ok("SEARCH RETURN (SAVE MAX) UNSEEN")
    assert await box.ok("FETCH $ UID") == [b"4 FETCH (UID 4)"]
    await box.ok("SEARCH RETURN (SAVE COUNT MIN) UNSEEN")
    assert len(await box.ok("FETCH $ UID")) == 3
    await box.ok("STORE 3 +FLAGS.SILENT (\\Deleted)")
    await box.ok("EXPUNGE")  # what is expunged leaves the result
    assert await box.ok("FETCH $ UID") == [b"2 FETCH (UID 2)", b"3 FETCH (UID 4)"]
    await box.ok("COPY $ Trash")
    await box.ok("SELECT INBOX")
    assert await box.ok("UID FETCH $ FLAGS") == []


async def test_a_search_that_ends_in_no_saves_nothing(house, monkeypatch):
    async with house() as h:
        await h.put()
        c = await h.login("INBOX")
        await c.ok("SEARCH RETURN (SAVE) ALL")

        def scan(*_, **__):
            raise Busy("told")

        with monkeypatch.context() as patched:
            patched.setattr(h.node.store, "scan", scan)
            assert (await c.refused("SEARCH RETURN (SAVE) BODY x")).startswith(b"NO [UNAVAILABLE]")
        assert await c.ok("FETCH $ UID") == []


async def test_a_search_that_the_grammar_refuses_saves_nothing_either(box):
    # RFC 5182 section 2.1: NO empties the result, BAD leaves it.
    await box.ok("SEARCH RETURN (SAVE) 1:2")
    assert (await box.refused("SEARCH RETURN (SAVE) NOSUCHKEY")).startswith(b"BAD")
    assert (await box.refused("SEARCH CHARSET X-KLINGON SUBJECT x")).startswith(b"NO [BADCHARSET (US-ASCII ")
    assert len(await box.ok("FETCH $ UID")) == 2
    assert (await box.refused("SEARCH RETURN (SAVE) CHARSET X-KLINGON SUBJECT x")).startswith(b"NO [BADCHARSET (US-")
    assert await box.ok("FETCH $ UID") == []
    await box.ok("SEARCH RETURN (SAVE) 1:2")
    assert (await box.refused("SEARCH RETURN (SAVE) BODY " + "x" * 9000)).startswith(b"NO [LIMIT]")
    assert await box.ok("FETCH $ UID") == []


async def test_columns_of_a_large_mailbox_are_looked_through_in_a_thread(box, monkeypatch):
    threads = []

    def noted(*args):
        threads.append(threading.current_thread())
        return plan(*args)

    monkeypatch.setattr("pillarbox.session.imap_search_run.plan", noted)
    assert await box.ok("SEARCH 1:2") == [b"SEARCH 1 2"]
    monkeypatch.setattr("pillarbox.session.imap_search_run.INLINE", 3)
    assert await box.ok("SEARCH 1:2") == [b"SEARCH 1 2"]
    assert [one is threading.main_thread() for one in threads] == [True, False]


async def test_a_page_of_messages_is_bounded_in_octets(house, monkeypatch):
    monkeypatch.setattr("pillarbox.session.imap_search_run.PAGE_OCTETS", 3000)
    pages = []
    async with house() as h:
        await h.put(*[letter(body="x" * 1000) for _ in range(8)], letter())
        c = await h.login("INBOX")
        scan = h.node.store.scan

        async def noted(function, *args, **options):
            if function is matching:
                pages.append(len(args[0]))
            return await scan(function, *args, **options)

        monkeypatch.setattr(h.node.store, "scan", noted)
        assert await c.ok('SEARCH HEADER X-Y "" OR SUBJECT x SUBJECT y') == [b"SEARCH"]
        assert pages == [3, 3, 3]


# Plans against a naive evaluation.

SIZE = 12


def selected():
    view = View(
        SimpleNamespace(id=1, user_id=1, uidvalidity=1, uidnext=100, highestmodseq=50),
        array("I", [3 * n + 2 for n in range(SIZE)]),
        array("B", [n * 7 % 32 for n in range(SIZE)]),
        array("q", [n * 5 % 13 + 1 for n in range(SIZE)]),
        array("q", [n * 100 for n in range(SIZE)]),
        array("q", [n * DAY // 2 for n in range(SIZE)]),
        array("q", range(SIZE)),
        array("q", [0] * SIZE),
        {2: ("Work",), 8: ("work", "$Junk")},
    )
    return Selected(view, "INBOX", read_only=False, recent_from=20)


class Message:
    """A message whose header and body are made up from its index."""

    def __init__(self, index):
        self.index = index

    def header(self, name):
        return [f"{name} {self.index}"] if self.index % 2 else []

    def whole_header(self, key=str):
        return f"header {self.index % 3}"

    def body_text(self, key=str):
        return f"body {self.index % 4}"

    def header_words(self):
        return self.whole_header()

    def body_words(self):
        return self.body_text()

    def sent_day(self):
        return self.index if self.index % 5 else None


def naive(key, box, index):
    message = Message(index)
    match key:
        case search.All():
            return True
        case search.Flag(bit, present):
            return bool(box.flags[index] & bit) == present
        case search.Recent(present):
            return (box.uids[index] >= 20) == present
        case search.Keyword(name, present):
            return (name.lower() in [word.lower() for word in box.keywords.get(box.uids[index], ())]) == present
        case search.Size(larger, octets):
            return box.sizes[index] > octets if larger else box.sizes[index] < octets
        case search.ModSeq(value):
            return box.modseqs[index] >= value
        case search.Received(relation, day):
            at = box.dates[index] // DAY
            return {"BEFORE": at < day, "ON": at == day, "SINCE": at >= day}[relation]
        case search.Sent(relation, day):
            at = message.sent_day()
            return at is not None and {"BEFORE": at < day, "ON": at == day, "SINCE": at >= day}[relation]
        case search.Numbers(numbers):
            return any(index in found for found in numbers.resolve_numbers(SIZE))
        case search.Uids(uids):
            return any(index in found for found in uids.resolve_uids(box.uids))
        case search.Header(name, text):
            return any(text in value for value in message.header(name))
        case search.Body(text):
            return text in message.body_text()
        case search.Text(text):
            return text in message.body_text() or text in message.whole_header()
        case search.Not(one):
            return not naive(one, box, index)
        case search.And(keys):
            return all(naive(one, box, index) for one in keys)
        case search.Or(keys):
            return any(naive(one, box, index) for one in keys)


small = st.integers(0, 14)
LEAVES = st.one_of(
    st.just(search.All()),
    st.builds(search.Flag, st.sampled_from([SEEN, ANSWERED, FLAGGED, DELETED, DRAFT]), st.booleans()),
    st.builds(search.Recent, st.booleans()),
    st.builds(search.Keyword, st.sampled_from(["WORK", "$junk", "none"]), st.booleans()),
    st.builds(search.Size, st.booleans(), st.integers(0, 1200)),
    st.builds(search.ModSeq, small),
    st.builds(search.Received, st.sampled_from(["BEFORE", "ON", "SINCE"]), small),
    st.builds(search.Sent, st.sampled_from(["BEFORE", "ON", "SINCE"]), small),
    st.builds(search.Numbers, st.sets(st.integers(1, 20), min_size=1).map(SequenceSet.of)),
    st.builds(search.Uids, st.sets(st.integers(1, 50), min_size=1).map(SequenceSet.of)),
    st.builds(search.Header, st.just("subject"), st.sampled_from(["1", "7", "subject"])),
    st.builds(search.Body, st.sampled_from(["body", "2", "9"])),
    st.builds(search.Text, st.sampled_from(["header 1", "body 3"])),
)
KEYS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(search.Not, inner),
        st.builds(search.And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(search.Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(KEYS)
def test_a_plan_finds_what_the_keys_say(key):
    box = selected()
    made = plan(key, box)
    found = [at for at in indexes(made.mask, SIZE) if all(p.test(Message(at)) for p in made.predicates)]
    assert found == [at for at in range(SIZE) if naive(key, box, at)]
