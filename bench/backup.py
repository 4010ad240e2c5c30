"""What a copy or a clean-up of the live database costs: does it end, and what do senders see meanwhile?

    python bench/backup.py                                       # every way at a few rates, a database of 200 MB
    python bench/backup.py --ways backup --rates 0.5,1,2,4,8

A sender writes 4 KiB messages at a fixed mean rate with random gaps, as mail arrives, whether or not the last one was
answered: latency counts from the moment a message was due. The program under test starts three seconds later and is
stopped after --limit seconds. Needs `sqlite3`. The server is one of `pillarbox try` in a folder of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from running import Running

PILLARBOX = [sys.executable, "-m", "pillarbox.cli.pillarbox"]
BEFORE = 3.0  # seconds of load before the program starts
HEAD = b"From: bench@sender.test\r\nSubject: backup\r\n\r\n"

Way = Callable[[Path, Path], list[str]]


def _sqlite3(*commands: str) -> Callable[[Path], list[str]]:
    return lambda database: ["sqlite3", "-bail", "-cmd", ".timeout 30000", str(database), *commands]


WAYS: dict[str, Way] = {
    "backup": lambda database, copy: _sqlite3(f".backup '{copy}'")(database),
    "pillarbox backup": lambda database, copy: [*PILLARBOX, "backup", "--db", str(database), str(copy)],
    "pause + backup": lambda database, copy: [
        *(*PILLARBOX, "pause", "--db", str(database), "50"),
        *_sqlite3(f".backup '{copy}'")(database),
    ],
    "VACUUM": lambda database, copy: _sqlite3("VACUUM")(database),
    "ANALYZE": lambda database, copy: _sqlite3("ANALYZE")(database),
    "delete queue rows": lambda database, copy: _sqlite3(
        "DELETE FROM message_queue WHERE created_at < strftime('%s','now','-30 days')"
    )(database),
}


class Senders:
    """Sessions that are kept open; a message that is due takes a free one or opens another."""

    def __init__(self, port: int, recipient: str) -> None:
        self._port, self._recipient = port, recipient
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.seen: list[tuple[float, float, bytes]] = []  # when due, seconds to the answer, its first three octets

    async def send(self, content: bytes, due: float) -> None:
        reader, writer = self._free.pop() if self._free else await self._open()
        reply = b""
        for command in (b"MAIL FROM:<bench@sender.test>", b"RCPT TO:<%s>" % self._recipient.encode(), b"DATA"):
            reply = await _ask(reader, writer, command + b"\r\n")
            if not reply.startswith((b"2", b"3")):
                break
        else:
            reply = await _ask(reader, writer, content + b".\r\n")
        self.seen.append((due, time.monotonic() - due, reply[:3]))
        if reply.startswith(b"2"):
            self._free.append((reader, writer))
        else:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        await reader.readline()
        await _ask(reader, writer, b"EHLO bench.test\r\n")
        return reader, writer

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    while True:
        line = await reader.readline()
        if line[3:4] != b"-":
            return line


async def fill(server: Running, megabytes: int) -> None:
    """Deliver incompressible mail until the database has its size, and let the log be worked off."""
    database = server.data / "smtp.db"
    senders = Senders(server.ports["smtp"], server.accounts[1][0])
    while _size(database) < megabytes * 1_000_000:
        await senders.send(HEAD + base64.encodebytes(os.urandom(3 << 20)).replace(b"\n", b"\r\n"), time.monotonic())
        if senders.seen[-1][2] != b"250":
            raise OSError(f"filling: {senders.seen[-1][2]!r}")
    senders.close()
    await asyncio.sleep(3)


def _size(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)


async def measure(server: Running, way: str, rate: float, limit: float) -> list[str]:
    """One row: what the program did, and what those who sent meanwhile saw."""
    database, copy = server.data / "smtp.db", server.data / "copy.db"
    copy.unlink(missing_ok=True)
    senders, sending = Senders(server.ports["smtp"], server.accounts[0][0]), set[asyncio.Task[None]]()
    ended = asyncio.Event()

    async def load() -> None:
        due, content = time.monotonic(), HEAD + (b"x" * 76 + b"\r\n") * 52
        while rate and not ended.is_set():
            due += random.expovariate(rate)
            await asyncio.sleep(due - time.monotonic())
            sending.add(asyncio.create_task(senders.send(content, due)))

    loading = asyncio.create_task(load())
    await asyncio.sleep(BEFORE)
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(*WAYS[way](database, copy), stdout=-3, start_new_session=True)
    try:
        status = await asyncio.wait_for(process.wait(), limit)
        took = f"{time.monotonic() - began:.1f} s" if status == 0 else f"exit {status}"
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        took = f"no end in {limit:.0f} s"
    end = time.monotonic()
    ended.set()
    await loading
    await asyncio.gather(*sending)
    senders.close()
    calm = [seconds for due, seconds, _ in senders.seen if due < began - 0.5]
    meanwhile = [seconds for due, seconds, _ in senders.seen if began <= due <= end]
    refused = sum(reply != b"250" for _, _, reply in senders.seen)
    with suppress(FileNotFoundError):
        if took.endswith(" s") and sqlite3.connect(copy).execute("PRAGMA quick_check").fetchone() != ("ok",):
            took += ", NOT SOUND"
    return [way, f"{rate:g}", took, *_spread(calm), *_spread(meanwhile), str(refused)]


def _spread(seconds: list[float]) -> list[str]:
    """Median and maximum, in milliseconds."""
    ordered = sorted(seconds)
    return [f"{ordered[len(ordered) // 2] * 1000:.0f}", f"{ordered[-1] * 1000:.0f}"] if ordered else ["-", "-"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rates", default="1,10,100", help="messages a second, mean")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--limit", type=float, default=60)
    parser.add_argument("--work", type=Path, help="where the database lies (default: a folder in the system's own)")
    options = parser.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory(prefix="pillarbox-backup-", dir=options.work) as folder:
        server = Running(Path(folder) / "data").start()
        try:
            asyncio.run(fill(server, options.megabytes))
            print(f"{_size(server.data / 'smtp.db') / 1e6:.0f} MB, {os.cpu_count()} CPUs")
            print("| program | msg/s | took | before: median ms | max | meanwhile: median ms | max | not 250 |")
            print("|---|---|---|---|---|---|---|---|", flush=True)
            for way in options.ways.split(","):
                for rate in map(float, options.rates.split(",")):
                    row = asyncio.run(measure(server, way, rate, options.limit))
                    print("| " + " | ".join(row) + " |", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
