"""FETCH by summaries tells the same as FETCH by rows, in all modes, whatever is in the mailbox."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.sequence import compact
from pillarbox.session import imap_fetch_lines
from pillarbox.session.imap_fetch_pages import along
from pillarbox.store import summaries
from pillarbox.store.summaries import Place

FIELDS = "BODY.PEEK[HEADER.FIELDS (Subject TO message-id)]"
ITEMS = (
    "(ENVELOPE BODYSTRUCTURE)",
    "ENVELOPE",
    f"(UID FLAGS INTERNALDATE RFC822.SIZE BODYSTRUCTURE {FIELDS})",
    f"(FLAGS {FIELDS} MODSEQ)",
    "(UID ENVELOPE PREVIEW)",
    f"({FIELDS} EMAILID)",
)
SETS = ("1:*", "2:5", "1,3,7:9,30", "1:3,5,8:12,14:*", "31")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(summaries, "SPAN", 4)
    monkeypatch.setattr(summaries, "LEAST", 4)


async def pack(h):
    store, count = h.node.store, 0
    while found := await store.scan(summaries.due):
        while found:
            count += await store.write(summaries.put, found.pop())
    return count


def letter(number):
    folded = b"\r\n\tmore" if number % 3 == 0 else b""
    to = b", ".join(b"a%d@example.org" % n for n in range(600)) if number == 6 else b"a@example.org"
    subject = b"caf\xc3\xa9" if number == 9 else b"n\0ul" if number == 10 else b"%d %% %%d" % number
    return b"Received: x\r\nSubject: %b%b\r\nX: y\r\nTO: %b\r\n\r\nbody\r\n" % (subject, folded, to)


@pytest.fixture
def counted(monkeypatch):
    """How many summaries were read."""
    seen = []
    read = imap_fetch_lines.summaries.read
    monkeypatch.setattr(imap_fetch_lines.summaries, "read", lambda *args: seen.append(args[1]) or read(*args))
    return seen


@pytest.mark.parametrize("enable", [None, "IMAP4rev2", "UTF8=ACCEPT", "UIDONLY"])
async def test_the_same_is_told(house, counted, enable):
    async with house() as h:
        await h.put(*map(letter, range(1, 40)))
        await h.node.store.write(lambda tx: tx.run("UPDATE blobs SET listed = NULL WHERE id = 14"))
        c = await h.login("INBOX", enable=enable)
        fetch = "UID FETCH" if enable == "UIDONLY" else "FETCH"
        await c.ok("UID STORE 2,8,21:24,26 +FLAGS.SILENT (\\Deleted)")
        await c.ok("EXPUNGE")
        before = {(one, items): await c.ok(f"{fetch} {one} {items}") for one in SETS for items in ITEMS}
        assert not counted
        assert await pack(h) == 8
        for (one, items), lines in before.items():
            told = await c.ok(f"{fetch} {one} {items}")
            assert told == lines, (one, items)
        assert counted


async def test_expunged_ones_are_told_to_who_does_not_know_and_passed_over_for_others(house, counted):
    async with house() as h:
        await h.put(*map(letter, range(1, 9)))
        await pack(h)
        old, other = await h.login("INBOX"), await h.login("INBOX")
        await other.ok("UID STORE 3,5,6,7,8 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        told = await old.ok("FETCH 1:8 ENVELOPE")
        assert [int(line.split()[0]) for line in told if b"ENVELOPE" in line] == [*range(1, 9)]
        told = await other.ok("FETCH 1:* (UID ENVELOPE)")
        assert [line.split(b" ENV")[0] for line in told] == [
            b"%d FETCH (UID %d" % pair for pair in ((1, 1), (2, 2), (3, 4))
        ]
        assert len(counted) == 3  # of the second one nothing was left


async def test_a_damaged_or_vanished_one_does_no_harm(house, counted, monkeypatch):
    async with house() as h:
        await h.put(*map(letter, range(1, 9)))
        c = await h.login("INBOX")
        lines = await c.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE)")
        await pack(h)
        await h.node.store.write(lambda tx: tx.run("UPDATE summaries SET envelope = ? WHERE first_uid = 1", (b"x",)))
        assert await c.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE)") == lines
        await h.node.store.write(lambda tx: tx.run("UPDATE summaries SET envelope = ids WHERE first_uid = 1"))
        assert await c.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE)") == lines
        monkeypatch.setattr(summaries, "places", lambda *_: [Place(77, 1, 4, 4), Place(78, 3, 20, 4)])
        assert await c.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE)") == lines
        assert counted
        await h.node.store.write(lambda tx: tx.run("DELETE FROM summaries"))


async def test_it_needs_no_row_of_what_is_in_summaries(house):
    """What is read is what was packed: the rows do not have it any more."""
    async with house() as h:
        await h.put(*map(letter, range(20, 28)))
        c = await h.login("INBOX")
        lines = await c.ok(f"FETCH 1:* (ENVELOPE BODYSTRUCTURE {FIELDS})")
        await pack(h)
        sql = "UPDATE blobs SET envelope = ?, bodystructure = ?, listed = ?"
        await h.node.store.write(lambda tx: tx.run(sql, (b"e", b"b", b"")))
        assert await c.ok(f"FETCH 1:* (ENVELOPE BODYSTRUCTURE {FIELDS})") == lines
        await h.node.store.write(lambda tx: tx.run("DELETE FROM summaries"))


PLACES = [Place(1, 10, 19, 4), Place(2, 20, 29, 4), Place(3, 25, 39, 4)]


@pytest.mark.parametrize(
    ("picks", "uids", "found"),
    [
        ([range(6)], [1, 2, 10, 11, 15, 41], [(range(2), None), (range(2, 5), 1), (range(5, 6), None)]),
        (
            [range(6)],
            [10, 19, 20, 29, 30, 40],
            [(range(2), 1), (range(2, 4), 2), (range(4, 5), 3), (range(5, 6), None)],
        ),
        ([range(1, 2), range(3, 4), range(5, 6)], [1, 10, 11, 12, 13, 14], [([1, 3, 5], 1)]),
        ([range(3)], [1, 2, 3], [(range(2), None), (range(2, 3), None)]),
        ([range(1)], [45], [(range(1), None)]),
    ],
)
def test_along(picks, uids, found):
    assert [(page, place and place.id) for page, place in along(picks, uids, PLACES, 2)] == found


@given(st.data())
def test_every_picked_message_is_in_one_page(data):
    uids = sorted(data.draw(st.sets(st.integers(1, 60), min_size=1)))
    picked = sorted(data.draw(st.sets(st.integers(0, len(uids) - 1))))
    bounds = sorted(data.draw(st.sets(st.integers(1, 60), max_size=8)))
    places = [Place(first, first, last, data.draw(st.integers(1, 9))) for first, last in pairwise(bounds)]
    picks = [range(low, high + 1) for low, high in compact(picked)]
    found = list(along(picks, uids, places, 3))
    assert [index for page, _ in found for index in page] == picked
    assert all(place is not None or len(page) <= 3 for page, place in found)
    assert all(isinstance(page, range) == (page[-1] - page[0] + 1 == len(page)) for page, _ in found)


def test_one_of_many_is_not_worth_a_summary():
    assert list(along([range(3, 4)], range(1, 100), [Place(1, 1, 99, 99)], 9)) == [(range(3, 4), None)]


def test_a_page_of_rows_goes_on_over_summaries_that_are_not_worth_it():
    picks = [range(1), range(50, 51), range(98, 99)]
    places = [Place(1, 1, 40, 40), Place(2, 41, 80, 40), Place(3, 81, 99, 9)]
    assert list(along(picks, range(1, 100), places, 9)) == [([0, 50, 98], None)]
