"""What a long queue costs: claims and settles a second with a thousand, a hundred thousand and a million recipients.

    python bench/mail_queue.py                                  # every shape, every length
    python bench/mail_queue.py --shapes one --lengths 1000
    python bench/mail_queue.py --database postgresql:///bench    # in schemas of its own, which are dropped again

Shapes: all recipients at one destination; ten at each; each at its own. A message has ten recipients. Measured in a
process of its own for each length: from its start (imports included) to the first rows it claimed, then what eight
runners do as the scheduler's do: lease, claim a batch of 100, settle it (half is delivered, half put off) and claim the
next in one transaction, leave. Every step is a durable commit. The queue is filled up again, outside the clock, until
20,000 rows were settled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, Tx, blobs, messages, migrate, open_store, queue_claim, queue_settle
from pillarbox.store.records import NewMessage, Queued

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))

BATCH = 100
RUNNERS = 8
RECIPIENTS = 10  # of a message
ENOUGH = 20_000  # rows to be settled for one figure
LIMIT = 5.0  # seconds to the first claim
PREFIX = b"Received: from client.example.com (192.0.2.1) by mx.example.com with ESMTPSA id 0123456789ABCDEF\r\n" * 2
RAW = b"From: a@example.com\r\nSubject: a long queue\r\n\r\n" + b"Some text of a message.\r\n" * 40

SHAPES: dict[str, tuple[str, Callable[[int], str]]] = {
    "one": ("one destination", lambda number: "mx big.example"),
    "ten": ("ten at each", lambda number: f"mx {number // 10}.example"),
    "alone": ("each at its own", lambda number: f"mx {number}.example"),
}

TAKEN = {"one": 1, "ten": 10, "alone": 100}  # destinations leased at once: a batch of rows


def plans(shape: str, first: int, count: int) -> Iterator[list[Queued]]:
    """`count` recipients from number `first` on, by the message."""
    name = SHAPES[shape][1]
    for start in range(first, first + count, RECIPIENTS):
        key = f"{start:016X}"
        yield [
            Queued("a@example.com", f"user{number}@example.net", PREFIX, 0, name(number), message_key=key)
            for number in range(start, min(start + RECIPIENTS, first + count))
        ]


async def fill(store: Store, shape: str, first: int, count: int) -> None:
    message = NewMessage(blobs.pack(RAW), None, analyse(RAW))

    def some(tx: Tx, group: list[list[Queued]]) -> None:
        for recipients in group:
            messages.deliver(tx, message, recipients)

    group: list[list[Queued]] = []
    for recipients in plans(shape, first, count):
        group.append(recipients)
        if len(group) == 200:
            await store.write(some, group)
            group = []
    await store.write(some, group)


def take(tx: Tx, holder: str, destinations: int) -> list[tuple[int, list[int]]]:
    """Lease, and claim the first batch of each."""
    taken = []
    for destination in queue_claim.due_destinations(tx, holder, destinations, 300):
        taken.append((destination.id, [row.id for row in queue_claim.claim(tx, destination.id, holder, BATCH, 300)]))
    return taken


def settle(tx: Tx, holder: str, destination_id: int, ids: list[int], more: bool) -> list[int]:
    """Half are delivered, half put off; the next batch, or none and the destination is left."""
    queue_settle.remove(tx, [id for id in ids if id % 2])
    queue_settle.defer(tx, [(id, tx.now + 3600, "451 later", "mx") for id in ids if not id % 2], holder=holder)
    rows = queue_claim.claim(tx, destination_id, holder, BATCH, 300) if more else []
    if not rows:
        nothing: dict[str, Any] = {"failures": 0, "concurrency": 4, "blocked_until": None, "last_error": ""}
        queue_claim.leave(tx, destination_id, holder, **nothing)
    return [row.id for row in rows]


async def run(store: Store, holder: str, shape: str, wanted: int) -> int:
    """One runner; how many rows it settled."""
    settled = 0
    while settled < wanted:
        taken = await store.write(take, holder, TAKEN[shape])
        if not taken:
            break
        for destination_id, ids in taken:
            while ids:
                settled += len(ids)
                ids = await store.write(settle, holder, destination_id, ids, settled < wanted)
    return settled


async def measure(database: str, shape: str, length: int, began_at: float) -> dict[str, float]:
    store = await open_store(database)
    await store.write(queue_claim.free_dead, lambda holder: False)
    taken = await store.write(take, "first", 1)
    claimed = time.time() - began_at
    for destination_id, ids in taken:
        await store.write(queue_settle.give_back, "first", ids)
        await store.write(settle, "first", destination_id, [], False)
    settled, seconds, cpu = 0, 0.0, 0.0
    while settled < ENOUGH:
        wanted = min(ENOUGH - settled, length // 2) // RUNNERS
        began, used = time.perf_counter(), time.process_time()
        done = sum(await asyncio.gather(*(run(store, f"h{number}", shape, wanted) for number in range(RUNNERS))))
        seconds, cpu = seconds + time.perf_counter() - began, cpu + time.process_time() - used
        settled += done
        if not done:
            raise OSError("nothing is due")
        await store.write(renew, done)
    problems = await store.check() if length <= 1000 else []
    await store.close()
    if problems:
        raise OSError(problems[0])
    return {"claimed": claimed, "rate": settled / seconds, "cpu": cpu / settled * 1e6, "peak": peak()}


def renew(tx: Tx, count: int) -> None:
    """What was put off is due again, and what was delivered is replaced by copies of it: the length stays."""
    columns = "from_address, to_address, created_at, updated_at, next_retry_at, blob_id, prefix, destination_id"
    again = "status = 'retry' AND next_retry_at > ?"
    tx.run(
        f"INSERT INTO message_queue ({columns}) SELECT from_address, to_address, created_at, updated_at, ?, blob_id, "
        f"prefix, destination_id FROM message_queue WHERE {again} LIMIT ?",
        (tx.now, tx.now, count // 2),
    )
    tx.run(f"UPDATE message_queue SET next_retry_at = ? WHERE {again}", (tx.now, tx.now))


def peak() -> float:
    """The most memory this process ever had, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def lengths(database: str, shape: str, wanted: list[int]) -> Iterator[list[str]]:
    """One row of the table for each length, the queue growing."""

    async def grow(first: int, count: int) -> None:
        store = await open_store(database)
        await fill(store, shape, first, count)
        await store.close()

    there = 0
    for length in sorted(wanted):
        asyncio.run(grow(there, length - there))
        there = length
        argv = [sys.executable, __file__, "--measure", database, "--shapes", shape, "--lengths", str(length)]
        began = time.time()
        out = subprocess.run([*argv, "--began", str(began)], check=True, capture_output=True, text=True).stdout
        found = json.loads(out)
        late = "" if found["claimed"] < LIMIT else " (TOO LATE)"
        yield [
            SHAPES[shape][0],
            f"{length:,}",
            f"{found['rate']:,.0f}",
            f"{found['cpu']:.0f}",
            f"{found['claimed']:.2f}{late}",
            f"{found['peak']:.0f}",
        ]


def databases(target: str | None) -> Iterator[str]:
    """An empty database, made ready; gone afterwards."""
    if target is None:
        with tempfile.TemporaryDirectory(prefix="pillarbox-queue-") as folder:
            migrate(f"{folder}/smtp.db")
            yield f"{folder}/smtp.db"
        return
    import psycopg

    with psycopg.connect(target, autocommit=True) as connection:
        schema = f"bench_{os.getpid()}_{time.monotonic_ns()}"
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        try:
            url = f"{target}{'&' if '?' in target else '?'}options=-csearch_path%3D{schema}"
            migrate(url)
            yield url
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--lengths", default="1000,100000,1000000")
    parser.add_argument("--database", help="of PostgreSQL; without it an SQLite file in the system's temporary folder")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = [int(length) for length in options.lengths.split(",")]
    if options.measure:
        print(json.dumps(asyncio.run(measure(options.measure, options.shapes, wanted[0], options.began))))
        return
    print("| recipients | in the queue | claimed and settled a second | CPU us each | first claim after s | peak MiB |")
    print("|---|---|---|---|---|---|", flush=True)
    for shape in options.shapes.split(","):
        for database in databases(options.database):
            for row in lengths(database, shape, wanted):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
