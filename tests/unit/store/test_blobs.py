"""Packing, and the freeing of blobs that nobody needs."""

import asyncio
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import Clock, inbox_of, message, raw_message, to

from pillarbox.mime.analysis import Analysis, analyse, outline
from pillarbox.store import Corrupt, NotFound, Store, Tx, blobs, messages, undelete
from pillarbox.store.records import NewMessage, Queued, User


@given(st.binary(max_size=2000))
def test_what_is_packed_comes_back(data: bytes) -> None:
    assert blobs.unpack(blobs.pack(data), len(data)) == data


def test_what_does_not_compress_is_stored_as_it_is() -> None:
    data = os.urandom(5000)
    assert len(blobs.pack(data)) == len(data) + 1
    assert blobs.pack(b"a" * 5000)[:4] == b"\x28\xb5\x2f\xfd"


def test_damaged_pieces() -> None:
    packed = blobs.pack(b"a" * 5000)
    for piece, size in ((packed[:-3], 5000), (packed, 4999), (b"\0abc", 4), (b"", 1)):
        with pytest.raises(Corrupt):
            blobs.unpack(piece, size)


async def test_reading_what_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.read(blobs.read_slice, 99, 0, 10)
    with pytest.raises(NotFound):
        await store.read(blobs.read_start, 99, 10)
    unfinished = await store.write(blobs.begin, "1:1")
    with pytest.raises(NotFound):
        await store.read(blobs.read_slice, unfinished, 0, 10)


async def test_slices_at_the_edges(store: Store, alice: User) -> None:
    await store.write(messages.deliver, message(), [to(alice)])
    size = message().analysis.size
    assert await store.read(blobs.read_slice, 1, size, 10) == b""
    assert await store.read(blobs.read_slice, 1, size - 2, 10) == b"\r\n"
    assert await store.read(blobs.read_slice, 1, 0, 0) == b""
    whole = await store.scan(blobs.read_slice, 1, 0, size)
    for length in (0, 1, size - 1, size, size + 1):
        assert await store.read(blobs.read_start, 1, length) == whole[:length]


async def test_what_passes_through_is_one_row_until_a_mailbox_has_it(store: Store, alice: User) -> None:
    raw = raw_message()
    passing = NewMessage(blobs.pack(raw), None, outline(raw, b"<1@example.org>"))
    await store.write(messages.deliver, passing, [Queued("a@b.c", "d@e.f")])

    def pieces(tx: Tx) -> tuple[int, int]:
        (inside,) = tx.row("SELECT count(*) FROM blobs WHERE data IS NOT NULL") or (-1,)
        (beside,) = tx.row("SELECT count(*) FROM blob_chunks") or (-1,)
        return inside, beside

    assert await store.read(pieces) == (1, 0)
    assert await store.read(blobs.read_start, 1, len(raw)) == raw
    assert await store.read(blobs.read_slice, 1, 6, 5) == raw[6:11]
    assert await store.check() == []
    stored = NewMessage(None, 1, passing.analysis)  # whoever is behind the address by now
    await store.write(messages.deliver, stored, [to(alice)])
    assert await store.read(pieces) == (0, 1)
    assert await store.read(blobs.read_start, 1, len(raw)) == raw
    (envelope,) = await store.read(lambda tx: tx.row("SELECT envelope FROM blobs WHERE id = 1")) or ()
    assert bytes(envelope) == analyse(raw).envelope


async def test_two_at_once_look_into_what_passed_through(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has several writers; with SQLite one comes after the other."""
    raw = raw_message()
    passing = NewMessage(blobs.pack(raw), None, outline(raw, b"<1@example.org>"))
    begun, never = threading.Event(), threading.Event()

    def slow(data: bytes) -> Analysis:
        begun.set()
        never.wait(0.3)
        return analyse(data)

    monkeypatch.setattr(blobs, "analyse", slow)

    def another(tx: Tx) -> bytes:
        begun.wait(5)
        blobs.look_into(tx, 1)
        return blobs.read_slice(tx, 1, 0, len(raw))

    await store.write(messages.deliver, passing, [Queued("a@b.c", "d@e.f")])
    _, found = await asyncio.gather(store.write(blobs.look_into, 1), store.write(another))
    assert found == raw


async def test_what_comes_into_a_mailbox_while_it_is_read(store: Store) -> None:
    """A transaction that writes sees what others commit meanwhile (PostgreSQL)."""
    raw = raw_message()
    passing = NewMessage(blobs.pack(raw), None, outline(raw, b"<1@example.org>"))
    await store.write(messages.deliver, passing, [Queued("a@b.c", "d@e.f")])

    class Meanwhile:
        """Another looks into it between two statements."""

        def __init__(self, tx: Tx) -> None:
            self._tx = tx

        def heavy(self, octets: int) -> None:
            blobs.look_into(self._tx, 1)

        def __getattr__(self, name: str) -> object:
            return getattr(self._tx, name)

    assert await store.write(lambda tx: blobs.read_slice(Meanwhile(tx), 1, 0, len(raw))) == raw  # type: ignore[arg-type]


async def blob_count(store: Store) -> int:
    (count,) = await store.read(lambda tx: tx.row("SELECT count(*) FROM blobs"))
    assert isinstance(count, int)
    return count


async def test_a_blob_is_freed_a_day_after_the_last_one_let_go(store: Store, alice: User, clock: Clock) -> None:
    await store.write(messages.deliver, message(), [to(alice), to(alice), Queued("a@b.c", "d@e.f")])
    await store.write(messages.deliver, message("kept"), [to(alice)])
    inbox = await inbox_of(store, alice)
    view = await store.read(messages.open_view, inbox.id)
    await store.write(messages.store_flags, inbox.id, [1, 2], "add", 8)
    await store.write(messages.expunge, inbox.id)
    await store.write(undelete.forget, clock.now + 1)  # its time to come back is over

    async def free() -> int:
        freed = await store.write(blobs.free_unreferenced, clock.now - blobs.KEEP)
        assert isinstance(freed, int)
        return freed

    assert await free() == 0  # the queue still has it
    await store.write(lambda tx: tx.run("DELETE FROM message_queue"))
    assert await free() == 0
    clock.now += blobs.KEEP
    assert await free() == 0
    assert len(await store.read(messages.rendered, [view.ids[0]])) == 1
    clock.now += 1
    assert await free() == 1
    assert await blob_count(store) == 1
    assert await store.read(messages.rendered, [view.ids[0]]) == []


async def test_a_blob_wanted_again_stays(store: Store, alice: User, clock: Clock) -> None:
    await store.write(messages.deliver, message(), [to(alice, flags=8)])
    inbox = await inbox_of(store, alice)
    await store.write(messages.expunge, inbox.id)
    await store.write(undelete.forget, clock.now + 1)  # its time to come back is over
    await store.write(blobs.free_unreferenced, 0)
    from pillarbox.store.records import NewMessage

    await store.write(messages.append, inbox.id, NewMessage(None, 1, message().analysis))
    clock.now += 2 * blobs.KEEP
    assert await store.write(blobs.free_unreferenced, clock.now - blobs.KEEP) == 0
    assert await blob_count(store) == 1
    assert await store.read(lambda tx: tx.rows("SELECT id FROM unreferenced_blobs")) == []


async def test_the_sweep_goes_round_in_small_steps(store: Store, alice: User, clock: Clock) -> None:
    for number in range(7):
        await store.write(messages.deliver, message(str(number)), [to(alice, flags=8)])
    await store.write(messages.expunge, (await inbox_of(store, alice)).id)
    await store.write(undelete.forget, clock.now + 1)  # its time to come back is over
    noted = []
    for _ in range(4):
        await store.write(blobs.free_unreferenced, 0, 2, 2)
        noted.append((await store.read(lambda tx: tx.row("SELECT count(*) FROM unreferenced_blobs")))[0])
    assert noted == [2, 4, 6, 7]
    clock.now += blobs.KEEP + 1
    freed = [await store.write(blobs.free_unreferenced, clock.now - blobs.KEEP, 3) for _ in range(4)]
    assert (sum(freed), max(freed)) == (7, 3)


async def test_unfinished_blobs_of_the_dead_are_freed(store: Store) -> None:
    ids = [await store.write(blobs.begin, owner) for owner in ("1:a", "2:b", "1:a")]
    await store.write(blobs.add_chunk, ids[0], 0, 0, 3, blobs.pack(b"abc"))
    assert await store.write(blobs.free_unfinished, lambda owner: owner == "2:b", 1) == 1
    assert await store.write(blobs.free_unfinished, lambda owner: owner == "2:b") == 1
    assert await store.read(lambda tx: tx.rows("SELECT id, owner FROM blobs")) == [(ids[1], "2:b")]
