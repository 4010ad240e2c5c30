"""The search index is fed by one worker, soon after a commit, and what it has fed is found."""

import asyncio
from types import SimpleNamespace

import pytest

from empty_store import put_empty_store
from pillarbox.access.ledger import Ledger
from pillarbox.flow.owner import this_process
from pillarbox.mime.analysis import analyse
from pillarbox.server.search_feeder import LATEST, NAME, SOON, SearchFeeder
from pillarbox.store import blobs, directory, leases, mailboxes, messages
from pillarbox.store.opening import open_store
from pillarbox.store.records import Delivery, NewMessage
from pillarbox.store.search_index import Sought
from pillarbox.store.tx import Touched

RAW = b"Subject: x\r\n\r\nHow about lunch?\r\n"


@pytest.fixture
async def store(tmp_path):
    put_empty_store(tmp_path / "smtp.db")
    opened = await open_store(tmp_path / "smtp.db")
    yield opened
    await opened.close()


async def deliver(store):
    user = await store.read(directory.user, "ada@example.com")
    if user is None:
        user = await store.write(directory.create_user, "ada@example.com", "ada@example.com", "hash", "scram")
    message = NewMessage(blobs.pack(RAW), None, analyse(RAW))
    await store.write(messages.deliver, message, [Delivery(user.email, user.id)])
    return await store.read(mailboxes.find, user.id, "INBOX")


def feeder(store, holder="me"):
    return SearchFeeder(store, Ledger(2).attach(1), holder)


async def test_it_feeds_all_that_waits(store):
    box = await deliver(store)
    await deliver(store)
    assert await feeder(store).once() == 2
    assert await feeder(store).once() == 0
    found = await store.scan(store.search.find, box.id, [Sought("lunch", False)])
    assert (len(found.sure[0]), len(found.unknown[0])) == (2, 0)


async def test_only_who_has_the_lease_works(store):
    await deliver(store)
    assert await store.write(leases.acquire, NAME, this_process(), 100)
    assert await feeder(store).once() == 0
    assert await store.search.behind(store)


async def test_a_commit_wakes_it(store, monkeypatch):
    monkeypatch.setattr("pillarbox.server.search_feeder.SOON", 0)
    monkeypatch.setattr("pillarbox.server.search_feeder.PAUSE", 0)
    worker = feeder(store)
    worker.start()
    await deliver(store)
    for _ in range(500):
        if not await store.search.behind(store):
            break
        await asyncio.sleep(0.01)
    assert not await store.search.behind(store)
    await worker.stop()
    assert await store.write(leases.acquire, NAME, "other", 100)  # it was given back


@pytest.mark.parametrize(("mails", "waited"), [(0, SOON), (3, 4 * SOON - 3), (1000, LATEST)])
async def test_it_stands_back_until_mail_has_stopped_coming_but_not_for_ever(store, monkeypatch, mails, waited):
    worker = feeder(store)
    now, coming = 100.0, mails

    async def sleep(seconds):
        nonlocal now, coming
        if coming:
            coming -= 1
            now += seconds - 1
            worker._touched(frozenset({Touched(1, 1)}))  # a second before the wait is over
            now += 1
        else:
            now += seconds

    loop = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(
        "pillarbox.server.search_feeder.asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop)
    )
    worker._touched(frozenset({Touched(1, 1)}))
    await worker._lull()
    assert now == 100 + waited
    assert not worker._news.is_set()
