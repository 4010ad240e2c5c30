"""SEARCH BODY and TEXT through the index: the same answers as without it, new messages too, and no message is read."""

from pillarbox.flow.mailing_list import member_prefix, post_of
from pillarbox.mime.header import LISTED, MAX_HEADER, fields_of
from pillarbox.session import imap_search_index, imap_search_run
from pillarbox.session.imap_search_plan import ON_TOP
from pillarbox.smtp.received import Trace, local_received, received
from pillarbox.store import search_index
from pillarbox.store.queue_records import ListRow


def letter(subject, body):
    head = f"From: Bob <bob@example.org>\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}\r\n{body}\r\n".encode()


LETTERS = [
    letter("Lunch", "Meet at the café at noon"),
    letter("Dinner", "No lunch today; see bob@example.com"),
    letter("Reise", "東京都に行く"),
    letter("Empty", ""),
]
SEARCHES = {
    "BODY lunch": "2",
    "TEXT lunch": "1 2",
    "BODY CAFE": "1",
    'BODY "at noo"': "1",
    "BODY unch": "",
    "NOT BODY lunch": "1 3 4",
    "OR BODY lunch BODY cafe": "1 2",
    "SUBJECT dinner BODY lunch": "2",
    "BODY bob@example.com": "2",
    "TEXT bob@example.org": "1 2 3 4",
    "BODY lunch BODY today": "2",
    "BODY 京都": "3",
    'BODY ";"': "2",
    "UID 1:2 TEXT lunch": "1 2",
    'BODY ""': "1 2 3 4",
}


async def feed(h):
    while await h.node.store.search.feed(h.node.store):
        pass


async def check(c):
    for keys, found in SEARCHES.items():
        command, *literals = ("SEARCH " + keys, *()) if keys.isascii() else ("SEARCH BODY {}", keys[5:].encode())
        assert await c.ok(command, *literals) == [f"SEARCH {found}".strip().encode()], keys


async def test_the_same_answers_before_while_and_after_indexing(house):
    async with house() as h:
        await h.put(*LETTERS[:2])
        c = await h.login("INBOX")
        await feed(h)
        await h.put(*LETTERS[2:])
        await c.ok("NOOP")
        await check(c)
        await feed(h)
        await check(c)
        await h.node.store.search.rebuild(h.node.store)
        await check(c)


async def test_what_is_indexed_is_not_read(house, monkeypatch):
    async with house() as h:
        await h.put(*LETTERS)
        await feed(h)
        c = await h.login("INBOX")
        await h.put(letter("x", "late lunch"))
        await c.ok("NOOP")
        read = []

        def noted(tx, page, tests):
            read.extend(page)
            return imap_search_matching(tx, page, tests)

        imap_search_matching = imap_search_run.matching
        monkeypatch.setattr(imap_search_run, "matching", noted)
        assert await c.ok("SEARCH TEXT lunch") == [b"SEARCH 1 2 5"]
        assert len(read) == 3
        read.clear()
        await feed(h)
        assert await c.ok("SEARCH TEXT lunch") == [b"SEARCH 1 2 5"]
        assert read == []


async def test_only_messages_that_may_have_a_field_are_asked_for_it(house, monkeypatch):
    monkeypatch.setattr(imap_search_index, "FEW", 2)
    tagged = b"X-Tag-Of: One, two\r\n folded =?utf-8?q?caf=C3=A9?=\r\n" + letter("1", "")
    letters = [
        tagged,
        letter("2", ""),
        letter("3", "the x tag off"),
        b"X-Tag_Of : unusual\r\n" + letter("4", ""),
        b"X-Tag: of a kind\r\n" + letter("5", ""),
        b"X-Long: " + b"a" * 70 + b"\r\nX-Tag-Of:\r\n" + letter("6", ""),
        b"X-Long: " + b"a\r\n " * (MAX_HEADER // 3) + b"\r\nX-Tag-Of: beyond\r\n" + letter("7", ""),
    ]
    searches = {
        "HEADER X-Tag-Of ne": "1",
        'HEADER x-tag-of ", TWO FOLD"': "1",
        "HEADER X-Tag-Of UNUS": "",
        "HEADER X-Tag_Of unus": "4",
        "HEADER X-Tag kind": "5",
        'HEADER X-Tag-Of ""': "1 6 7",
        "HEADER X-Tag-Of beyon": "7",
        "NOT HEADER X-Tag-Of ne": "2 3 4 5 6 7",
        "OR HEADER X-Tag kind HEADER X-Tag-Of two": "1 5",
        "HEADER Received lmtp": "",
        "HEADER X-None a": "",
        'HEADER ! ""': "",
    }
    async with house() as h:
        await h.put(*letters)
        c = await h.login("INBOX")
        for fed in (False, True):
            for keys, found in searches.items():
                assert await c.ok("SEARCH " + keys) == [f"SEARCH {found}".strip().encode()], (keys, fed)
            await feed(h)
        read = []

        def noted(tx, page, tests):
            read.extend(index for index, _ in page)
            return imap_search_matching(tx, page, tests)

        imap_search_matching = imap_search_run.matching
        monkeypatch.setattr(imap_search_run, "matching", noted)
        await c.ok("SEARCH HEADER X-Tag-Of two")
        assert read == [0, 2, 3, 4, 5, 6]
        read.clear()
        await c.ok("SEARCH HEADER X-None a")
        assert read == [6]
        read.clear()
        await c.ok("SEARCH HEADER List-Owner a")
        assert read == [*range(7)]
        read.clear()
        monkeypatch.setattr(search_index, "messages", lambda tx: 1_000_000)  # of whom the index might name many
        await c.ok("SEARCH HEADER X-None a")
        assert read == [*range(7)]


def test_which_fields_delivery_puts_on_top_is_known():
    post = post_of(ListRow(1, "all@example.org", "All", "ann@example.org", "anyone", 0))
    trace = received(Trace("", "", "mx.example.org", "ESMTP", "1", 0.0))
    names = fields_of(member_prefix(post, "bob@example.com", trace) + local_received("mx.example.org", 1, "2", 0.0))
    assert names.keys() <= LISTED | ON_TOP
    assert names.keys() >= ON_TOP


async def test_expunged_messages_are_not_found(house):
    async with house() as h:
        await h.put(*LETTERS)
        await feed(h)
        c = await h.login("INBOX")
        other = await h.login("INBOX")
        await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        assert await c.ok("SEARCH TEXT lunch") == [b"SEARCH 2"]  # it cannot be told yet, and is not found
        assert await other.ok("SEARCH TEXT lunch") == [b"SEARCH 1"]


async def test_a_long_search_tells_how_far_it_is(house, monkeypatch):
    monkeypatch.setattr(imap_search_run, "PROGRESS", 0.0)
    async with house() as h:
        await h.put(*LETTERS)
        c = await h.login("INBOX")
        untagged = await c.ok("SEARCH BODY lunch")
        assert untagged[-1] == b"SEARCH 2"
        assert untagged[0].startswith(b'OK [INPROGRESS ("t')
        assert untagged[0].endswith(b'" 4 4)] Still searching')
