"""The spool on a real store: what goes in comes out, within its bounds, and nothing is left behind."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empty_store import put_empty_store
from examples import examples
from pillarbox.flow import spool as module
from pillarbox.flow.memory import DiskGauge, MemoryBudget
from pillarbox.flow.spool import CHUNK, INLINE, SMALL, Spool, SpoolError
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery, directory
from pillarbox.store.errors import Busy
from pillarbox.store.opening import open_store
from pillarbox.store.records import Delivery
from waiting import until

HEADER = b"Subject: x\r\nReceived: a\r\nReceived: b\r\n\r\n"


@pytest.fixture
async def host(tmp_path):
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    await store.write(directory.create_user, "ada@example.com", "ada@example.com", "!")
    threads = ThreadPoolExecutor(2)
    host = SimpleNamespace(
        store=store,
        memory=MemoryBudget(16 << 20),
        disk=DiskGauge("/", free=lambda path: 1 << 40),
        threads=threads,
        owner="1:1",
    )
    yield host
    await until(lambda: not module._running, "the end of what the spools began")
    assert host.memory.used == 0
    assert await store.read(unfinished) == 0
    assert await store.check() == []
    threads.shutdown()
    await store.close()


def unfinished(tx):
    return tx.row("SELECT count(*) FROM blobs WHERE complete = 0")[0]


async def feed(spool, data, step=100_000):
    for at in range(0, len(data), step):
        pause = spool.feed(data[at : at + step])
        if pause is not None:
            await pause


async def stored(host, message):
    """Deliver it and read it back."""
    (outcome,) = await host.store.write(delivery.deliver, message, [Delivery("a", 1)])
    assert outcome.error is None
    blob_id = await host.store.read(lambda tx: tx.row("SELECT blob_id FROM messages WHERE uid = ?", (outcome.uid,))[0])
    return await host.store.scan(blobs.read_slice, blob_id, 0, message.analysis.size)


@pytest.mark.parametrize("step", [1 << 30, 3000])
async def test_a_large_header_is_not_analysed_on_the_loop(host, step):
    for header, body, light in ((10, 100, True), (20, 0, False), (100, 10, False), (0, 120, True)):
        data = HEADER[:-2] + (b'To: "\\\r\n' * (header << 10))[: header << 10] + b"\r\n\r\n" + b"x" * (body << 10)
        spool = Spool(host)
        await feed(spool, data, step)
        message = spool.finish_now()
        assert (message is not None) == light
        assert await stored(host, message or await spool.finish()) == data
        spool.close(stored=True)


@pytest.mark.parametrize("size", [0, 1, INLINE, INLINE + 1, SMALL, SMALL + 1, CHUNK, 3 * CHUNK + 17])
@pytest.mark.parametrize("step", [1 << 30, 100_000])
async def test_a_message_of_any_size_comes_out_as_it_went_in(host, size, step):
    data = (HEADER + b"0123456789abcdef\r\n" * (size // 18 + 1))[:size]
    spool = Spool(host)
    await feed(spool, data, step)
    message = spool.finish_now() or await spool.finish()
    assert message.analysis == analyse(data)
    assert (message.blob_id is None) == (size <= SMALL)
    assert spool.size == size
    assert spool.head == data[: len(spool.head)]
    assert spool.hops == (2 if size > len(HEADER) else 0)
    assert await stored(host, message) == data
    spool.close(stored=True)


async def test_octet_by_octet_costs_no_more_memory_than_it_weighs(host):
    spool = Spool(host)
    data = HEADER + b"x" * 20_000
    await feed(spool, data, 1)
    assert len(spool._pieces) < 10
    assert await stored(host, spool.finish_now()) == data
    spool.close(stored=True)


async def test_chunks_are_never_larger_than_the_store_allows(host):
    spool = Spool(host)
    await feed(spool, b"x" * (5 * CHUNK), 3 * CHUNK)
    message = await spool.finish()
    sizes = await host.store.read(lambda tx: [row[0] for row in tx.rows("SELECT size FROM blob_chunks ORDER BY id")])
    assert sum(sizes) == 5 * CHUNK
    assert max(sizes) <= CHUNK
    assert await stored(host, message) == b"x" * (5 * CHUNK)
    spool.close(stored=True)


async def test_an_aborted_transfer_frees_its_chunks_also_while_one_is_on_its_way(host):
    finished, flying = Spool(host), Spool(host)
    await feed(finished, b"x" * (2 * CHUNK))
    assert await host.store.read(unfinished) == 1
    pause = flying.feed(b"x" * CHUNK)
    assert pause is not None
    finished.close()
    flying.abort()
    await pause
    assert host.memory.used == 0


async def test_a_session_that_is_cancelled_while_it_waits_leaves_nothing(host):
    spool = Spool(host)

    async def session():
        try:
            await feed(spool, b"x" * (4 * CHUNK))
        finally:
            spool.close()

    task = asyncio.ensure_future(session())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_finds_no_memory_writes_out_what_it_has_so_that_all_get_through(host):
    host.memory.limit = 1 << 20
    most = 0

    async def sender(number):
        nonlocal most
        spool = Spool(host)
        try:
            for _ in range(40):
                pause = spool.feed(bytes([number]) * 16_384)
                most = max(most, host.memory.used)
                if pause is not None:
                    await pause
            message = await spool.finish()
            assert await stored(host, message) == bytes([number]) * (40 * 16_384)
            spool.close(stored=True)
        finally:
            spool.close()

    await asyncio.gather(*(sender(number) for number in range(20)))
    assert most <= host.memory.limit


async def test_those_who_never_go_on_are_written_out_for_those_who_do(host):
    host.memory.limit = 1 << 20
    idle = [Spool(host) for _ in range(8)]
    for number, spool in enumerate(idle):
        assert spool.feed(bytes([number]) * (96 << 10)) is None
    active = Spool(host)
    for _ in range(4):
        pause = active.feed(b"x" * (200 << 10))
        if pause is not None:
            await pause
    assert await stored(host, await active.finish()) == b"x" * (800 << 10)
    active.close(stored=True)
    for number, spool in enumerate(idle):
        pause = spool.feed(b"end")
        if pause is not None:
            await pause
        assert await stored(host, spool.finish_now() or await spool.finish()) == bytes([number]) * (96 << 10) + b"end"
        spool.close(stored=True)


async def test_an_unforeseen_error_in_a_chunk_that_nobody_awaits_is_told_at_the_end(host):
    spool = Spool(host)
    spool.feed(b"x" * 10_000)
    write, host.store.write = host.store.write, None
    spool.spill()
    assert spool.held == 0
    with pytest.raises(SpoolError):
        await spool.finish()
    host.store.write = write
    spool.close()


async def test_who_holds_nothing_and_finds_no_memory_is_refused_after_a_time(host, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    host.memory.take(host.memory.limit)
    spool = Spool(host)
    pause = spool.feed(b"x")
    await pause
    assert spool.feed(b"y") is None, "the rest is dropped"
    with pytest.raises(SpoolError):
        await spool.finish()
    with pytest.raises(SpoolError):
        spool.finish_now()
    spool.close()
    host.memory.release(host.memory.limit)


async def test_with_a_full_disk_nothing_is_taken(host):
    host.disk.full()
    spool = Spool(host)
    assert spool.feed(b"x" * 1000) is None
    with pytest.raises(SpoolError):
        await spool.finish()
    spool.close()


async def test_what_the_store_says_of_a_chunk_is_said_at_the_end(host):
    spool = Spool(host)
    write = host.store.write
    host.store.write = lambda *args, **kw: write(fail)
    await feed(spool, b"x" * (2 * CHUNK))
    host.store.write = write
    with pytest.raises(Busy):
        await spool.finish()
    spool.close()


def fail(tx):
    raise Busy("locked")


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=3000), max_size=20), limit=st.integers(1, 8))
async def test_any_pieces_under_any_budget_come_out_whole(host, pieces, limit):
    host.memory.limit = limit * 4096
    data = b"".join(pieces)
    spool = Spool(host)
    for piece in pieces:
        pause = spool.feed(piece)
        if pause is not None:
            await pause
    message = spool.finish_now() or await spool.finish()
    assert message.analysis == analyse(data)
    assert await stored(host, message) == data
    spool.close(stored=True)
