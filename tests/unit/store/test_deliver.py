"""deliver and append: what is in the mailbox and the queue afterwards, and what a refused plan leaves behind."""

import pytest
from store_samples import Clock, inbox_of, message, raw_message, to

from pillarbox.store import NotFound, OverQuota, Store, blobs, directory, mailboxes, messages, queue
from pillarbox.store.records import NewMessage, Queued, User


async def test_a_delivered_message_is_in_the_view_and_its_bytes_can_be_read(
    store: Store, alice: User, clock: Clock
) -> None:
    plan = to(alice, prefix=b"Return-Path: <>\r\n", flags=4, keywords=("$Junk", "a"))
    (outcome,) = await store.write(messages.deliver, message(), [plan])
    inbox = await inbox_of(store, alice)
    assert (outcome.mailbox_id, outcome.uid, outcome.uidvalidity) == (inbox.id, 1, inbox.uidvalidity)
    assert outcome.error is None
    view = await store.read(messages.open_view, inbox.id)
    raw = raw_message()
    assert list(view.uids) == [1]
    assert list(view.flags) == [4]
    assert list(view.sizes) == [len(raw) + 17]
    assert list(view.dates) == [clock.now]
    assert view.keywords == {1: ("$Junk", "a")}
    (one,) = await store.read(messages.rendered, list(view.ids))
    assert (one.prefix, one.subject, one.size) == (b"Return-Path: <>\r\n", "hello", len(raw) + 17)
    assert await store.read(blobs.read_slice, one.blob_id, 0, 10_000) == raw
    assert await store.read(blobs.read_slice, one.blob_id, 6, 5) == raw[6:11]


async def test_ten_plans_share_one_blob(store: Store, alice: User, bob: User) -> None:
    plans = [to(alice), to(bob), to(alice, "Sent"), Queued("a@example.com", "b@example.net", prefix=b"X: y\r\n")]
    outcomes = await store.write(messages.deliver, message(), plans)
    assert [o.error for o in outcomes] == [None] * 4
    assert outcomes[3].queue_id is not None
    (row,) = await store.read(queue.page)
    assert (row.from_address, row.to_address, row.status) == ("a@example.com", "b@example.net", "pending")
    count = await store.read(lambda tx: tx.row("SELECT count(*) FROM blobs"))
    assert count == (1,)


async def test_counts_follow(store: Store, alice: User) -> None:
    before = await inbox_of(store, alice)
    await store.write(messages.deliver, message(), [to(alice), to(alice, flags=1), to(alice, flags=8)])
    after = await inbox_of(store, alice)
    assert (after.message_count, after.unseen_count, after.deleted_count) == (3, 2, 1)
    assert after.uidnext == 4
    assert after.highestmodseq > before.highestmodseq
    user = await store.read(directory.get_user, alice.id)
    assert user.quota_used == after.total_size == 3 * len(raw_message())


async def test_over_quota_is_an_outcome_and_the_others_get_theirs(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.set_quota, "alice", len(raw_message()) - 1)
    outcomes = await store.write(messages.deliver, message(), [to(alice), to(bob)])
    assert [o.error for o in outcomes] == ["larger than the quota", None]
    assert (await inbox_of(store, alice)).message_count == 0


async def test_a_refused_single_plan_writes_no_blob(store: Store, alice: User) -> None:
    await store.write(directory.set_quota, "alice", 1)
    await store.write(messages.deliver, message(), [to(alice)])
    assert await store.read(lambda tx: tx.rows("SELECT id FROM blobs")) == []


async def test_when_every_plan_is_refused_nothing_is_written_and_a_large_message_stays_unfinished(
    store: Store, alice: User, bob: User
) -> None:
    for name in ("alice", "bob"):
        await store.write(directory.set_quota, name, 1)
    outcomes = await store.write(messages.deliver, message(), [to(alice), to(bob)])
    assert [o.error for o in outcomes] == ["larger than the quota"] * 2
    assert await store.read(lambda tx: tx.rows("SELECT id FROM blobs")) == []
    raw = raw_message()
    blob_id = await store.write(blobs.begin, "1:1/1")
    await store.write(blobs.add_chunk, blob_id, 0, 0, len(raw), blobs.pack(raw))
    large = NewMessage(packed=None, blob_id=blob_id, analysis=message().analysis)
    await store.write(messages.deliver, large, [to(alice), to(bob)])
    await store.write(blobs.free_unfinished, lambda owner: owner != "1:1/1")  # as the spool does
    assert await store.read(lambda tx: tx.rows("SELECT id FROM blobs")) == []


async def test_a_user_who_is_gone_is_an_outcome(store: Store, alice: User) -> None:
    await store.write(directory.delete_user, "alice")
    (outcome,) = await store.write(messages.deliver, message(), [to(alice)])
    assert outcome.error == "no such user"


async def test_a_folder_that_is_gone_becomes_inbox(store: Store, alice: User) -> None:
    (outcome,) = await store.write(messages.deliver, message(), [to(alice, "Nowhere")])
    assert outcome.mailbox_id == (await inbox_of(store, alice)).id


async def test_one_damaged_mailbox_does_not_stop_the_others(store: Store, alice: User, bob: User) -> None:
    await store.write(messages.deliver, message(), [to(alice)])
    inbox = await inbox_of(store, alice)
    await store.write(lambda tx: tx.run("UPDATE mailboxes SET uidnext = 1 WHERE id = ?", (inbox.id,)))
    outcomes = await store.write(messages.deliver, message(), [to(alice), to(bob)])
    assert outcomes[0].error is not None
    assert outcomes[1].error is None
    await store.write(lambda tx: tx.run("UPDATE mailboxes SET uidnext = 2 WHERE id = ?", (inbox.id,)))


async def test_append(store: Store, alice: User) -> None:
    drafts = await store.read(mailboxes.status, alice.id, "Drafts")
    done = await store.write(messages.append, drafts.id, message(), 16 | 1, ["$x"], 12345)
    assert (done.uid, done.uidvalidity) == (1, drafts.uidvalidity)
    view = await store.read(messages.open_view, drafts.id)
    assert (view.flags[0], view.dates[0], view.modseqs[0]) == (17, 12345, done.modseq)
    assert view.mailbox.unseen_count == 0


async def test_append_refuses_what_cannot_be(store: Store, alice: User) -> None:
    with pytest.raises(NotFound):
        await store.write(messages.append, 999, message())
    await store.write(directory.set_quota, "alice", 1)
    inbox = await inbox_of(store, alice)
    with pytest.raises(OverQuota):
        await store.write(messages.append, inbox.id, message())


async def test_a_blob_written_before_is_completed_by_the_delivery(store: Store, alice: User) -> None:
    raw = raw_message(body="x" * 3_000_000 + "\r\n")
    analysis = message().analysis
    from pillarbox.mime.analysis import analyse

    analysis = analyse(raw)
    blob_id = await store.write(blobs.begin, "1:1")
    for sequence, start in enumerate(range(0, len(raw), blobs.CHUNK_SIZE)):
        piece = raw[start : start + blobs.CHUNK_SIZE]
        await store.write(blobs.add_chunk, blob_id, sequence, start, len(piece), blobs.pack(piece), size=len(piece))
    large = NewMessage(None, blob_id, analysis)
    await store.write(messages.deliver, large, [to(alice)])
    await store.write(messages.deliver, large, [to(alice)])  # complete already: shared
    inbox = await inbox_of(store, alice)
    assert inbox.total_size == 2 * len(raw)
    assert await store.scan(blobs.read_slice, blob_id, 0, len(raw)) == raw
    at = blobs.CHUNK_SIZE - 10
    assert await store.read(blobs.read_slice, blob_id, at, 20) == raw[at : at + 20]


async def test_missing_chunks_fail_the_delivery(store: Store, alice: User) -> None:
    from pillarbox.store import Conflict

    blob_id = await store.write(blobs.begin, "1:1")
    with pytest.raises(Conflict):
        await store.write(messages.deliver, NewMessage(None, blob_id, message().analysis), [to(alice)])
    assert (await inbox_of(store, alice)).message_count == 0


async def test_text_no_database_takes_is_stored_harmlessly(store: Store, alice: User) -> None:
    import msgspec

    plain = message()
    odd = msgspec.structs.replace(plain.analysis, subject="a\0b\ud800c", preview="ü\0")
    await store.write(messages.deliver, NewMessage(plain.packed, None, odd), [to(alice)])
    view = await store.read(messages.open_view, (await inbox_of(store, alice)).id)
    (one,) = await store.read(messages.rendered, list(view.ids))
    assert (one.subject, one.preview) == ("a\ufffdb?c", "ü\ufffd")
