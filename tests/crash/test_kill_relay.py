"""`kill -9` while the queue is sent: every message arrives, and twice only what was answered just before a kill."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections import defaultdict
from contextlib import closing

import pytest

from crash.load import Sender
from crash.recording_sink import RecordingSink
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery, open_store, routes
from pillarbox.store.records import NewMessage, Queued
from pillarbox.store.tx import Tx

KILLS = int(os.environ.get("PILLARBOX_CRASH_ROUNDS", "3"))
MESSAGES = max(2000, 60 * (KILLS + 1))  # some dozens between two kills
JUST_BEFORE = 3.0  # seconds between a 250 and the commit that notes it, on a machine that has other work


@pytest.fixture
def sink():
    one = RecordingSink()
    yield one
    one.close()


def fill(path: str, port: int) -> set[str]:
    """Queue the messages, each for two recipients, by a route to the sink; their names."""
    names = {f"message-{number}" for number in range(MESSAGES)}

    def put(tx: Tx, some: list[str], route_id: int) -> None:
        for name in some:
            data = f"From: a@example.org\r\nSubject: {name}\r\n\r\n".encode() + b"text\r\n" * 200
            message = NewMessage(packed=blobs.pack(data), blob_id=None, analysis=analyse(data))
            plans = [
                Queued("a@example.org", f"{who}@example.net", destination=f"route {route_id}", message_key=name[:14])
                for who in ("x", "y")
            ]
            delivery.deliver(tx, message, plans)

    async def work() -> None:
        store = await open_store(path)
        route = await store.write(
            routes.create_route, "sink", "smarthost", host="127.0.0.1", port=port, tls="never", concurrency=5
        )
        ordered = sorted(names)
        for at in range(0, len(ordered), 200):
            await store.write(put, ordered[at : at + 200], route.id)
        await store.close()

    asyncio.run(work())
    return names


def waiting(path: str) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database, database:
        (count,) = database.execute("SELECT count(*) FROM message_queue").fetchone()
    database.close()
    return count


def drained(path: str) -> bool:
    """Wait for the queue to become empty, as long as it becomes shorter: after many rounds there is much in it."""
    least, since = waiting(path), time.monotonic()
    while least and time.monotonic() - since < 60:
        time.sleep(0.2)
        if (left := waiting(path)) < least:
            least, since = left, time.monotonic()
    return least == 0


def test_every_message_arrives_and_few_twice(own, sink):
    path = str(own.data / "smtp.db")
    assert own.stop() == 0
    names = fill(path, sink.port)
    own.start()
    chance, kills = random.Random(), []
    for _ in range(KILLS):
        enough = len(sink.taken) + chance.randrange(20, MESSAGES // (KILLS + 1))
        until = time.monotonic() + 60
        while len(sink.taken) < enough and time.monotonic() < until:
            time.sleep(0.002)
        kills.append(time.monotonic())
        if chance.random() < 0.5:
            os.kill(chance.choice(own.workers()), signal.SIGKILL)
        else:
            own.kill()
            own.start()
    assert drained(path)
    times = defaultdict(list)
    for at, name in sink.taken:
        times[name].append(at)
    assert set(times) == names
    twice = {name: its for name, its in times.items() if len(its) > 1}
    for name, its in twice.items():
        for first in its[:-1]:
            assert any(-0.5 < kill - first < JUST_BEFORE for kill in kills), f"{name} came twice without a kill"
    print(f"{KILLS} kills, {MESSAGES} messages, none lost, {len(twice)} twice")
    assert len(twice) <= 25 * KILLS
    assert own.stop() == 0
    own.check()


def test_what_is_taken_on_while_it_is_killed_arrives(own, sink):
    """Accepted and handed to the connection at once: most of it is nowhere but in memory and in a claim of who dies."""
    path = str(own.data / "smtp.db")

    async def routed() -> None:
        store = await open_store(path)
        await store.write(routes.create_route, "sink", "smarthost", host="127.0.0.1", port=sink.port, tls="never")
        await store.write(routes.add_rule, "recipient", "example.net", "sink", accept=True)
        await store.close()

    asyncio.run(routed())
    senders = [Sender(number, own.ports["smtp"], ["x@example.net", "y@example.net"]) for number in range(4)]
    chance = random.Random()
    for _ in range(KILLS):
        enough = len(sink.taken) + chance.randrange(20, 300)
        until = time.monotonic() + 60
        while len(sink.taken) < enough and time.monotonic() < until:
            time.sleep(0.002)
        if chance.random() < 0.5:
            os.kill(chance.choice(own.workers()), signal.SIGKILL)
        else:
            own.kill()
            own.start()
    promised = {name for sender in senders for name, _ in sender.stop()}
    assert drained(path)
    assert promised
    assert promised <= {name for _, name in sink.taken}
    print(f"{KILLS} kills, {len(promised)} messages promised, none lost")
    assert own.stop() == 0
    own.check()
