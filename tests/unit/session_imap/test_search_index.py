"""SEARCH BODY and TEXT through the index: the same answers as without it, new messages too, and no message is read."""

from pillarbox.session import imap_search_run


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
