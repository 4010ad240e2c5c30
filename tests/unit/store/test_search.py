"""The search index on both engines: what is found, what is said to be unknown, and that it can be made anew."""

import os

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import inbox_of, message, raw_message, to

from pillarbox.mime.analysis import analyse, outline
from pillarbox.mime.words import folded, holds, sought
from pillarbox.store import blobs, delivery, directory, mailboxes, messages, queue_claim, queue_settle
from pillarbox.store.flags import DELETED
from pillarbox.store.opening import open_store
from pillarbox.store.records import NewMessage, Queued
from pillarbox.store.search_index import Sought, read_document
from pillarbox.store.search_sqlite import _SCHEMA, _look_up

TEXTS = ["Meet for lunch", "No lunch meeting today", "東京都に行く", "Ünïcode straße", ""]


async def fill(store, user, texts=TEXTS):
    for text in texts:
        await store.write(messages.deliver, message("subject of it", text + "\r\n"), [to(user, flags=DELETED)])


async def feed_all(store):
    count = 0
    while step := await store.search.feed(store):
        count += step
    return count


async def find(store, user, *words, header=False):
    """What is found for sure, and what is unknown, as positions in the inbox, for each of the words."""
    box = await inbox_of(store, user)
    view = await store.read(messages.open_view, box.id)
    found = await store.scan(store.search.find, box.id, [Sought(sought(one), header) for one in words])
    if found is None:
        return None
    at = {row_id: number for number, row_id in enumerate(view.ids)}
    assert set().union(*found.sure, *found.unknown) <= set(at)
    return [
        (sorted(at[one] for one in sure), sorted(at[one] for one in unknown - sure))
        for sure, unknown in zip(found.sure, found.unknown, strict=True)
    ]


async def test_words_are_found(store, alice):
    await fill(store, alice)
    assert await store.search.behind(store)
    assert await feed_all(store) == len(TEXTS)
    assert not await store.search.behind(store)
    assert await find(store, alice, "LUNCH", "lun", "unch", "unicode", "京都", "STRASSE") == [
        ([0, 1], []),
        ([0, 1], []),
        ([], []),
        ([3], []),
        ([2], []),
        ([3], []),
    ]
    assert await find(store, alice, "subject") == [([], [])]
    assert await find(store, alice, "subject", "lunch", header=True) == [([0, 1, 2, 3, 4], []), ([0, 1], [])]


async def test_all_that_holds_is_found_or_unknown(store, alice):
    await fill(store, alice)
    await feed_all(store)
    for needle in ("meet for", "for lunch", "lunch meeting tod", "京都に行", "no", "straße"):
        there = [at for at, text in enumerate(TEXTS) if holds(folded(text), sought(needle))]
        ((sure, unknown),) = await find(store, alice, needle)
        assert set(sure) <= set(there) <= {*sure, *unknown}


async def test_what_is_not_indexed_is_unknown(store, alice):
    await fill(store, alice)
    results = await find(store, alice, "lunch")
    assert results is None or results == [([], [0, 1, 2, 3, 4])]
    await feed_all(store)
    await fill(store, alice, ["one more lunch"])
    assert await find(store, alice, "lunch") == [([0, 1], [5])]
    await feed_all(store)
    assert await find(store, alice, "lunch") == [([0, 1, 5], [])]


async def test_expunged_messages_and_other_peoples_are_not_found(store, alice, bob):
    await fill(store, alice)
    await fill(store, bob, ["my own lunch"])
    await feed_all(store)
    box = await inbox_of(store, alice)
    await store.write(messages.expunge, box.id, [1])
    assert await find(store, alice, "lunch") == [([0], [])]
    assert await find(store, bob, "lunch") == [([0], [])]


async def test_a_copy_is_found_at_once(store, alice):
    await fill(store, alice)
    await feed_all(store)
    box = await inbox_of(store, alice)
    other = await store.write(mailboxes.create, alice.id, "Other")
    await store.write(messages.copy, box.id, [1], other.id)
    found = await store.scan(store.search.find, other.id, [Sought("lunch", False)])
    assert (len(found.sure[0]), found.unknown[0]) == (1, set())


async def test_an_unfinished_blob_is_indexed_when_it_is_complete(store, alice):
    raw = raw_message("big", "lunch at last\r\n")
    blob_id = await store.write(blobs.begin, "me")
    await store.write(blobs.add_chunk, blob_id, 0, 0, len(raw), blobs.pack(raw))
    await fill(store, alice)
    assert await feed_all(store) >= len(TEXTS)
    await store.write(messages.deliver, NewMessage(None, blob_id, analyse(raw)), [to(alice)])
    assert await find(store, alice, "lunch") == [([0, 1], [5])]
    assert await store.search.behind(store)
    assert await feed_all(store) == 1
    assert await find(store, alice, "lunch") == [([0, 1, 5], [])]


async def test_what_was_only_relayed_is_passed_over_on_sqlite(sqlite_store, clock):
    store = sqlite_store
    user = await store.write(directory.create_user, "carol", "carol@example.com", "hash", "scram")
    gone, waits = [
        (await store.write(delivery.deliver, message("relayed", "lunch\r\n"), [Queued("a@x.test", "b@y.test")]))[0]
        for _ in range(2)
    ]
    await store.write(queue_settle.remove, [gone.queue_id])
    await fill(store, user)
    await feed_all(store)
    assert not await store.search.behind(store)
    assert (await store.search.status(store)).indexed == len(TEXTS)
    (row,) = await store.write(queue_claim.claim_rows, [waits.queue_id], "me", 60)
    late = NewMessage(None, row.blob_id, message("relayed", "lunch\r\n").analysis)
    await store.write(messages.deliver, late, [to(user)])  # what waited may end in a mailbox here
    await store.write(queue_settle.remove, [waits.queue_id])
    assert await find(store, user, "lunch") == [([0, 1], [5])]
    assert await store.search.behind(store)
    await feed_all(store)
    assert await find(store, user, "lunch") == [([0, 1, 5], [])]
    await store.write(delivery.deliver, message("relayed", "lunch\r\n"), [Queued("a@x.test", "b@y.test")])
    await feed_all(store)
    assert not await store.search.behind(store)
    clock.now += 200
    await feed_all(store)
    assert not await store.search.behind(store)
    assert (await store.search.status(store)).indexed == len(TEXTS) + 2  # it has been waiting for long


async def test_a_message_that_waits_for_others_of_its_append_is_indexed(store, alice):
    raw = message("held", "lunch\r\n")
    await fill(store, alice)
    (blob_id,) = await store.write(blobs.put_away, [raw], "me")
    await feed_all(store)
    await store.write(messages.deliver, NewMessage(None, blob_id, raw.analysis), [to(alice)])
    ((sure, unknown),) = await find(store, alice, "lunch")
    assert sorted(sure + unknown) == [0, 1, 5]
    await feed_all(store)
    assert await find(store, alice, "lunch") == [([0, 1, 5], [])]
    (unwanted,) = await store.write(blobs.put_away, [raw], "me")
    await feed_all(store)
    assert await store.write(blobs.free_unwanted, [unwanted]) == 1
    await feed_all(store)
    assert not await store.search.behind(store)
    assert (await store.search.status(store)).waiting == 0


async def test_rebuild_and_status(store, alice):
    await fill(store, alice)
    await feed_all(store)
    assert await store.search.status(store) == (5, 0)
    await store.search.rebuild(store)
    assert (await store.search.status(store)).waiting == 5
    assert await feed_all(store) == 5
    assert await find(store, alice, "lunch") == [([0, 1], [])]


async def test_a_message_that_cannot_be_read_stays_unknown(store, alice, monkeypatch):
    await fill(store, alice)
    with monkeypatch.context() as patched:
        patched.setattr("pillarbox.store.search_index.search_text", broken)
        await feed_all(store)
    assert not await store.search.behind(store)
    assert await find(store, alice, "lunch") == [([], [0, 1, 2, 3, 4])]


def broken(*_):
    raise ValueError("told")


async def test_what_left_the_store_is_forgotten(sqlite_store):
    user = await sqlite_store.write(directory.create_user, "carol", "carol@example.com", "hash", "scram")
    await fill(sqlite_store, user)
    await feed_all(sqlite_store)
    assert await sqlite_store.search.sweep(sqlite_store) == 0
    box = await inbox_of(sqlite_store, user)
    await sqlite_store.write(messages.expunge, box.id, [2])
    await sqlite_store.write(lambda tx: tx.run("DELETE FROM expunged"))
    await sqlite_store.write(lambda tx: tx.run("DELETE FROM blob_chunks WHERE blob_id = 2"))
    await sqlite_store.write(lambda tx: tx.run("DELETE FROM blobs WHERE id = 2"))
    assert await sqlite_store.search.sweep(sqlite_store) == 1
    assert (await sqlite_store.search.status(sqlite_store)).indexed == 4
    assert await find(sqlite_store, user, "lunch") == [([0], [])]


async def test_while_another_process_makes_the_index_nothing_is_indexed(sqlite_store):
    user = await sqlite_store.write(directory.create_user, "carol", "carol@example.com", "hash", "scram")
    await fill(sqlite_store, user)
    with open(sqlite_store.search.path, "xb"):  # its tables come in a moment
        pass
    assert await sqlite_store.search.status(sqlite_store) == (0, len(TEXTS))
    await feed_all(sqlite_store)
    assert await sqlite_store.search.status(sqlite_store) == (len(TEXTS), 0)


@pytest.mark.parametrize("damage", ["garbage", "removed", "of another store"])
async def test_a_spoilt_index_is_made_anew(sqlite_store, damage):
    store = sqlite_store
    user = await store.write(directory.create_user, "carol", "carol@example.com", "hash", "scram")
    await fill(store, user)
    await feed_all(store)
    path = store.search.path
    assert os.stat(path).st_mode & 0o777 == 0o600
    if damage == "of another store":
        with apsw.Connection(path) as other:
            other.execute("UPDATE meta SET value = 'another' WHERE key = 'identity'")
    else:
        store.search.close()
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)
        if damage == "garbage":
            with open(path, "wb") as file:
                file.write(b"no database " * 1000)
    assert await find(store, user, "lunch") is None
    assert await store.search.behind(store)
    assert await feed_all(store) == len(TEXTS)
    assert await find(store, user, "lunch") == [([0, 1], [])]


async def test_another_process_finds_what_was_indexed(sqlite_store):
    user = await sqlite_store.write(directory.create_user, "carol", "carol@example.com", "hash", "scram")
    other = await open_store(sqlite_store.path)
    await fill(sqlite_store, user, ["lunch"])
    assert await find(other, user, "lunch") is None
    await feed_all(sqlite_store)
    assert await find(other, user, "lunch") == [([0], [])]
    await sqlite_store.search.rebuild(sqlite_store)
    await feed_all(sqlite_store)
    await fill(sqlite_store, user, ["lunch again"])
    await feed_all(sqlite_store)
    assert await find(other, user, "lunch") == [([0, 1], [])]
    await other.close()


@given(st.text(), st.text(), st.data())
def test_the_index_answers_as_reading_does(header, body, data):
    index = apsw.Connection(":memory:")
    for statement in _SCHEMA:
        index.execute(statement)
    index.execute("INSERT INTO texts (rowid, header, body) VALUES (1, ?, ?)", (folded(header), folded(body)))
    start = data.draw(st.integers(0, len(body)))
    for needle in (body[start : data.draw(st.integers(start, len(body)))], header[:3]):
        if words := sought(needle):
            assert (1 in _look_up(index, Sought(words, False))) is holds(folded(body), words)
            either = holds(folded(body), words) or holds(folded(header), words)
            assert (1 in _look_up(index, Sought(words, True))) is either


async def test_what_passes_through_and_takes_its_time_can_be_read(store):
    content = b"Subject: slow\r\n\r\nlunch\r\n"
    passing = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=outline(content, b""))
    blob_id = await store.write(blobs.store, passing)
    document = await store.scan(read_document, blob_id)
    assert "slow" in document.header and "lunch" in document.body
