"""ANNOTATE (RFC 5257) in sessions: stored, fetched, searched, sorted, appended, copied, shared, told to others."""

import pytest

from house import MESSAGE
from pillarbox.store import annotating, directory, mailboxes, rights

MULTIPART = (
    b"Subject: two\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
)
COMMENT = 'STORE {} ANNOTATION (/comment (value.priv "{}"))'


@pytest.fixture
async def pair(house):
    """Two sessions of one account, the other wants to be told."""
    async with house() as h:
        await h.put(MESSAGE, MULTIPART, MESSAGE)
        other = await h.login()
        await other.ok("SELECT INBOX (ANNOTATE)")
        yield h, await h.login("INBOX"), other


async def share(h, letters, mailbox="INBOX"):
    def write(tx):
        ada, bob = directory.user(tx, "ada@example.com"), directory.user(tx, "bob@example.com")
        box = mailboxes.find(tx, ada.id, mailbox)
        rights.change(tx, ada.id, box.id, bob.username, "=", letters)

    await h.node.store.write(write)


async def test_select_tells_the_limit(pair):
    _, c, _ = pair
    assert b"OK [ANNOTATIONS 65536] octets of an annotation" in await c.ok("SELECT INBOX (ANNOTATE CONDSTORE)")
    assert b"OK [ANNOTATIONS READ-ONLY] octets of an annotation" in await c.ok("EXAMINE INBOX (ANNOTATE)")
    assert b"NO [READ-ONLY]" in await c.refused(COMMENT.format(1, "x"))
    assert b"ANNOTATE-EXPERIMENT-1" in (await c.ok("CAPABILITY"))[0].split()


async def test_store_and_fetch(pair):
    _, c, _ = pair
    assert await c.ok('STORE 1 ANNOTATION (/comment (value.priv "mine" value.shared {}))', b"all's") == []
    assert await c.ok("STORE 1 ANNOTATION (/vendor/x/y (value.priv {}))", b"line\r\nline") == []
    assert await c.ok("FETCH 1 (ANNOTATION (/comment (value size)))") == [
        b'1 FETCH (ANNOTATION (/comment (value.priv "mine" value.shared "all\'s" size.priv "4" size.shared "5")))'
    ]
    assert await c.ok("UID FETCH 1:2 (FLAGS ANNOTATION (/* value.priv) UID)") == [
        b'1 FETCH (UID 1 FLAGS (\\Recent) ANNOTATION (/comment (value.priv "mine") '
        b"/vendor/x/y (value.priv {10}\r\nline\r\nline)))".replace(b" (\\Recent)", b" ()"),
        b"2 FETCH (UID 2 FLAGS ())",
    ]
    assert await c.ok("FETCH 1:3 ANNOTATION (/* value.priv)") == [
        b'1 FETCH (ANNOTATION (/comment (value.priv "mine") /vendor/x/y (value.priv {10}\r\nline\r\nline)))'
    ]
    assert await c.ok("FETCH 2 ANNOTATION (/altsubject value.shared)") == [
        b"2 FETCH (ANNOTATION (/altsubject (value.shared NIL)))"
    ]
    await c.ok("STORE 1 ANNOTATION (/comment (value.priv NIL))")
    assert await c.ok("FETCH 1 ANNOTATION (/% value)") == [
        b'1 FETCH (ANNOTATION (/comment (value.priv NIL value.shared "all\'s")))'
    ]


async def test_binary_values(pair):
    _, c, _ = pair
    await c.send(b"x STORE 1 ANNOTATION (/vendor/x (value.priv ~{3+}\r\na\0b))\r\n")
    assert (await c.until(b"x"))[-1].startswith(b"x OK")
    await c.send(b"y FETCH 1 ANNOTATION (/vendor/x (value.priv size.priv))\r\n")
    line = await c.reader.readuntil(b"\n")
    assert line.endswith(b"(/vendor/x (value.priv ~{3}\r\n")
    assert (await c.reader.readuntil(b"\n")) == b'a\0b size.priv "3")))\r\n'
    await c.until(b"y")


async def test_others_are_told_the_names(pair):
    h, c, other = pair
    plain = await h.login("INBOX")
    await other.ok("ENABLE CONDSTORE")
    await c.ok('STORE 2 ANNOTATION (/comment (value.priv "a") "/vendor/a b" (value.shared "b"))')
    (told,) = await other.ok("NOOP")
    assert told.startswith(b"2 FETCH (UID 2 FLAGS (\\Recent) MODSEQ (")
    assert told.endswith(b') ANNOTATION (/comment "/vendor/a b"))')
    assert not any(b"ANNOTATION" in one for one in await plain.ok("NOOP"))
    await c.ok("STORE 2 ANNOTATION (/comment (value.priv NIL))")
    (told,) = await other.ok("NOOP")
    assert told.endswith(b"ANNOTATION (/comment))")
    assert await other.ok(COMMENT.format(1, "own")) != []  # with CONDSTORE the mod-sequence is told ...
    assert not any(b"ANNOTATION" in one for one in await other.ok("NOOP"))  # ... and not what the client knows
    await c.ok("APPEND INBOX ANNOTATION (/comment (value.priv {})) {}", b"new", MESSAGE)
    told = await other.ok("NOOP")  # a message that was not known is no change
    assert b"4 EXISTS" in told
    assert not any(b"FETCH" in one for one in told)


async def test_a_store_is_silent_but_for_mod_sequences(pair):
    _, c, other = pair
    assert await c.ok(COMMENT.format("1:2", "x")) == []
    await other.ok("STORE 1 +FLAGS (\\Flagged)")
    told = await c.ok(COMMENT.format("1:2", "y"))
    assert [one.split(b" MODSEQ")[0] for one in told] == [b"1 FETCH (UID 1 FLAGS (\\Flagged))"]
    await c.ok("ENABLE CONDSTORE")
    told = await c.ok(COMMENT.format(1, "z"))
    assert len(told) == 1 and told[0].startswith(b"1 FETCH (UID 1 MODSEQ (")
    modseq = int(told[0].rpartition(b"(")[2].rstrip(b")"))
    await other.ok(COMMENT.format(1, "later"))
    tagged = await c.done(f'STORE 1,3 (UNCHANGEDSINCE {modseq}) ANNOTATION (/comment (value.priv "lost"))')
    assert tagged.startswith(b"OK [MODIFIED 1]")
    told, *_ = await c.ok(f"FETCH 1:3 (ANNOTATION (/comment value.priv)) (CHANGEDSINCE {modseq})")
    assert b'value.priv "later"' in told


async def test_parts(pair):
    _, c, _ = pair
    await c.ok('STORE 2 ANNOTATION (/2/comment (value.priv "second") /1/flags/seen (value.priv "1"))')
    assert (await c.refused('STORE 2 ANNOTATION (/3/comment (value.priv "x"))')).startswith(b"BAD")
    assert (await c.refused('STORE 1:2 ANNOTATION (/2/comment (value.priv "x"))')).startswith(b"BAD")
    assert (await c.refused('STORE 2 ANNOTATION (/1..2/comment (value.priv "x"))')).startswith(b"BAD")
    assert await c.ok("FETCH 1:3 ANNOTATION (/2/comment value.priv)") == [
        b"1 FETCH (ANNOTATION (/2/comment (value.priv NIL)))",
        b'2 FETCH (ANNOTATION (/2/comment (value.priv "second")))',
        b"3 FETCH (ANNOTATION (/2/comment (value.priv NIL)))",
    ]


async def test_limits(pair, monkeypatch):
    _, c, _ = pair
    assert b"NO [ANNOTATE TOOBIG]" in await c.refused("STORE 1 ANNOTATION (/comment (value.priv {}))", b"x" * 65537)
    monkeypatch.setattr(annotating, "MAX_ENTRIES", 1)
    await c.ok(COMMENT.format(1, "x"))
    refused = await c.refused('STORE 1:2 ANNOTATION (/altsubject (value.priv "x"))')
    assert b"NO [ANNOTATE TOOMANY]" in refused
    command = "APPEND INBOX ANNOTATION (/comment (value.priv {}) /altsubject (value.priv NIL)) {}"
    assert b"NO [ANNOTATE TOOBIG]" in await c.refused(command, b"x" * 65537, MESSAGE)
    assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 3)"]
    monkeypatch.setattr(annotating, "MAX_OCTETS", 20)
    assert b"NO [OVERQUOTA]" in await c.refused(COMMENT.format(2, "x" * 20))


async def test_search(pair):
    h, c, _ = pair
    await c.ok('STORE 1 ANNOTATION (/comment (value.priv "IMAP4" value.shared "group"))')
    await c.ok('STORE 2 ANNOTATION (/altsubject (value.shared {}) /2/comment (value.priv "imap"))', "Élan".encode())
    bob = await h.login(user="bob@example.com")
    for keys, found in (
        ('ANNOTATION /comment value "imap"', b" 1"),
        ('ANNOTATION /comment value.shared "imap"', b""),
        ('ANNOTATION * value.priv "imap"', b" 1 2"),
        ('ANNOTATION /% value.priv "imap"', b" 1"),
        ('ANNOTATION "/2/*" value "imap"', b" 2"),
        ('NOT ANNOTATION * value ""', b" 3"),
        ("ANNOTATION * value NIL", b" 3"),
        ("ANNOTATION /comment value.priv NIL", b" 2 3"),
        ('OR ANNOTATION /comment value "group" ANNOTATION /altsubject value {}', b" 1 2"),
    ):
        literals = ["éLAN".encode()] if "{}" in keys else []
        assert await c.ok(f"SEARCH CHARSET UTF-8 {keys}", *literals) == [b"SEARCH" + found], keys
    await c.ok("COMPARATOR i;octet")
    assert await c.ok('SEARCH ANNOTATION * value.priv "imap"') == [b"SEARCH 2"]
    assert (await c.refused('SEARCH ANNOTATION /comment size "1"')).startswith(b"BAD")
    bob.close()


async def test_results_that_are_kept_up_to_date(pair):
    _, c, other = pair
    assert (await other.ok('SEARCH RETURN (UPDATE ALL) ANNOTATION /comment value "x"'))[0].startswith(b"ESEARCH (TAG")
    await c.ok(COMMENT.format(2, "a x"))
    told = await other.ok("NOOP")
    assert any(one.endswith(b"ADDTO (0 2)") for one in told)
    await c.ok(COMMENT.format(2, "a"))
    assert any(one.endswith(b"REMOVEFROM (0 2)") for one in await other.ok("NOOP"))


async def test_sort(pair):
    _, c, _ = pair
    await c.ok('STORE 1 ANNOTATION (/altsubject (value.shared "b" value.priv "A"))')
    await c.ok('STORE 2 ANNOTATION (/altsubject (value.shared "a" value.priv "a"))')
    await c.ok('STORE 3 ANNOTATION (/altsubject (value.shared "C"))')
    assert await c.ok("SORT (ANNOTATION /altsubject value.shared) UTF-8 ALL") == [b"SORT 2 1 3"]
    assert await c.ok("SORT (REVERSE ANNOTATION /altsubject value.shared) UTF-8 ALL") == [b"SORT 3 1 2"]
    both = "SORT (ANNOTATION /altsubject value.priv REVERSE ANNOTATION /altsubject value.shared) UTF-8 ALL"
    assert await c.ok(both) == [b"SORT 3 1 2"]
    for wrong in ("/altsubject value", "/* value.priv", "/altsubject size.priv"):
        assert (await c.refused(f"SORT (ANNOTATION {wrong}) UTF-8 ALL")).startswith(b"BAD")


async def test_append(pair, monkeypatch):
    monkeypatch.setattr("pillarbox.session.imap_append_held.MOST_HELD", 10)
    _, c, _ = pair
    command = (
        'APPEND Drafts (\\Draft) "17-Jul-1996 02:44:25 -0700" ANNOTATION (/comment (value.priv "wait")) {} '
        "ANNOTATION (/1/comment (value.shared {} value.priv NIL)) {} {}"
    )
    await c.ok(command, MESSAGE, b"a literal", MULTIPART, MESSAGE)
    await c.ok("SELECT Drafts")
    assert await c.ok("FETCH 1:3 ANNOTATION (* (value))") == [
        b'1 FETCH (ANNOTATION (/comment (value.priv "wait" value.shared NIL)))',
        b'2 FETCH (ANNOTATION (/1/comment (value.priv NIL value.shared "a literal")))',
    ]
    wrong = 'APPEND Drafts {} ANNOTATION (/7/comment (value.priv "x")) {}'
    assert (await c.refused(wrong, MESSAGE, MESSAGE)).startswith(b"BAD")
    assert await c.ok("STATUS Drafts (MESSAGES)") == [b"STATUS Drafts (MESSAGES 3)"]
    await c.ok('APPEND Drafts ANNOTATION (/comment (value.priv "put together")) CATENATE (TEXT {})', b"a: b\r\n\r\nc")
    assert await c.ok('SEARCH ANNOTATION /comment value "together"') == [b"SEARCH 4"]
    await c.ok('UID REPLACE 1 Drafts ANNOTATION (/comment (value.priv "again")) {}', MESSAGE)
    assert await c.ok('UID SEARCH ANNOTATION /comment value ""') == [b"SEARCH 4 5"]


async def test_copy_and_move(pair):
    _, c, _ = pair
    await c.ok('STORE 1:2 ANNOTATION (/comment (value.priv "p" value.shared "s"))')
    await c.ok("COPY 1 Drafts")
    await c.ok("MOVE 2 Drafts")
    assert await c.ok("FETCH 1:* ANNOTATION (/comment value.priv)") == [
        b'1 FETCH (ANNOTATION (/comment (value.priv "p")))',
        b"2 FETCH (ANNOTATION (/comment (value.priv NIL)))",
    ]
    await c.ok("SELECT Drafts")
    assert await c.ok("FETCH 1:* ANNOTATION (/comment value)") == [
        b'%d FETCH (ANNOTATION (/comment (value.priv "p" value.shared "s")))' % n for n in (1, 2)
    ]


async def test_rights(house):
    async with house() as h:
        await h.put(MESSAGE)
        ada, bob = await h.login("INBOX"), await h.login(user="bob@example.com")
        theirs = '"Other Users/ada@example.com/INBOX"'
        await share(h, "lr")
        tagged = await bob.done(f"SELECT {theirs}")
        assert tagged.startswith(b"OK [READ-ONLY]")
        await bob.ok(COMMENT.format(1, "bob's own"))  # r is enough for that
        assert b"NO [NOPERM]" in await bob.refused('STORE 1 ANNOTATION (/comment (value.shared "x"))')
        told, *_ = await ada.ok("FETCH 1 ANNOTATION (/comment value)")
        assert told == b"1 FETCH (ANNOTATION (/comment (value.priv NIL value.shared NIL)))"
        await share(h, "lrn")
        assert (await bob.done(f"SELECT {theirs}")).startswith(b"OK [READ-WRITE]")
        await bob.ok('STORE 1 ANNOTATION (/comment (value.shared "for all"))')
        told, *_ = await ada.ok("FETCH 1 ANNOTATION (/comment value)")
        assert told == b'1 FETCH (ANNOTATION (/comment (value.priv NIL value.shared "for all")))'
        await ada.ok(COMMENT.format(1, "ada's own"))
        told, *_ = await bob.ok("FETCH 1 ANNOTATION (/comment value)")
        assert told == b'1 FETCH (ANNOTATION (/comment (value.priv "bob\'s own" value.shared "for all")))'
        await bob.ok("COPY 1 INBOX")
        await bob.ok("SELECT INBOX")
        assert await bob.ok("FETCH 1 ANNOTATION (/comment value)") == [
            b'1 FETCH (ANNOTATION (/comment (value.priv "bob\'s own" value.shared "for all")))'
        ]
        await share(h, "lri")
        assert b"NO [NOPERM]" in await bob.refused(
            f'APPEND {theirs} ANNOTATION (/comment (value.shared "x")) {{}}', MESSAGE
        )
        await bob.ok(f"COPY 1 {theirs}")
        await ada.ok("NOOP")
        assert await ada.ok("FETCH 2 ANNOTATION (/comment value)") == [
            b"2 FETCH (ANNOTATION (/comment (value.priv NIL value.shared NIL)))"
        ]


async def test_two_workers(house):
    async with house() as h:
        await h.put(MESSAGE)
        here = await h.login("INBOX")
        there = await h.login(node=await h.second_node())
        await there.ok("SELECT INBOX (ANNOTATE)")
        await here.ok(COMMENT.format(1, "x"))
        told = await there.ok("NOOP")
        assert told and told[-1].endswith(b"ANNOTATION (/comment))")


async def test_a_message_that_goes_meanwhile(pair):
    _, c, other = pair
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    assert b"[EXPUNGEISSUED]" in await c.refused(COMMENT.format("1:2", "x"))
    await c.ok("NOOP")
    assert await c.ok("UID FETCH 1:* ANNOTATION (/comment value.priv)") == [
        b'1 FETCH (UID 2 ANNOTATION (/comment (value.priv "x")))',
        b"2 FETCH (UID 3 ANNOTATION (/comment (value.priv NIL)))",
    ]


@pytest.mark.parametrize(("held", "reads"), [(1, 3), (25, 2), (1000, 1)])
async def test_few_are_in_memory_at_a_time(pair, monkeypatch, held, reads):
    h, c, _ = pair
    for number in (1, 2, 3):
        await c.ok(COMMENT.format(number, number))
    monkeypatch.setattr("pillarbox.session.imap_annotations.HELD", held)
    read, seen = h.node.store.read, []

    async def noted(function, *args, **options):
        seen.append(function)
        return await read(function, *args, **options)

    monkeypatch.setattr(h.node.store, "read", noted)
    assert await c.ok("FETCH 1:3 ANNOTATION (/comment value.priv)") == [
        b'%d FETCH (ANNOTATION (/comment (value.priv "%d")))' % (n, n) for n in (1, 2, 3)
    ]
    assert seen.count(annotating.of) == reads
