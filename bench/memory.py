"""What the server weighs: proportional set size of the whole process tree, idle with two workers.

python bench/memory.py                     # after a start, and after 1,000 messages (at most 120 MB)
python bench/memory.py --growth 100000     # and then every tenth of so many more messages
python bench/memory.py --big 200           # the peak while so many clients send 100 MiB each at once
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import time

import uvloop

from servers import Dns, Pillarbox, prepare

GIVEN_BACK = 35  # seconds; workers return what the allocator keeps every 30
LIMIT = 120.0  # MiB, idle after 1,000 messages


def send(server: Pillarbox, messages: int) -> None:
    """`messages` of 4 KiB from 10 sessions; returns when all are in the mailbox."""
    before = server.delivered()
    argv = ["smtp-source", "-d", "-s", "10", "-m", str(messages), "-l", "4096", "-f", "bench@sender.test"]
    subprocess.run([*argv, "-t", server.recipient, f"127.0.0.1:{server.port}"], check=True)
    if server.delivered() - before != messages:
        raise OSError(f"{server.delivered() - before} of {messages} messages are in the mailbox")


def settled(server: Pillarbox) -> float:
    """PSS in MiB once it no longer falls: caches of a burst are given back within seconds."""
    lowest = server.pss()
    for _ in range(10):
        time.sleep(1)
        now = server.pss()
        if now > lowest - 0.5:
            return min(now, lowest)
        lowest = now
    return lowest


async def big_senders(server: Pillarbox, clients: int, size: int) -> float:
    """The highest PSS seen, MiB, while `clients` send `size` octets each at the same time."""
    peak, ended = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal peak
        while not ended.is_set():
            peak = max(peak, server.pss())
            await asyncio.sleep(0.2)

    async def one() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await reader.readline()
        for command in ("EHLO big.test", "MAIL FROM:<b@big.test>", f"RCPT TO:<{server.recipient}>", "DATA"):
            writer.write(command.encode() + b"\r\n")
            while (await reader.readline())[3:4] == b"-":
                pass
        line = b"A" * 76 + b"\r\n"
        block = line * 840
        writer.write(b"Subject: big\r\n\r\n")
        for _ in range(size // len(block)):
            writer.write(block)
            await writer.drain()
        writer.write(b".\r\n")
        reply = (await reader.readline()).decode()
        writer.close()
        return reply

    watcher = asyncio.create_task(watch())
    replies = await asyncio.gather(*(one() for _ in range(clients)))
    ended.set()
    await watcher
    kinds = {kind: sum(r.startswith(kind) for r in replies) for kind in {r[:3] for r in replies}}
    print(f"replies: {kinds}")
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--growth", type=int, default=0)
    parser.add_argument("--big", type=int, default=0)
    parser.add_argument("--big-size", type=int, default=100 * 1024 * 1024 - 100_000)
    options = parser.parse_args()
    prepare()
    server, dns = Pillarbox(extra={"SMTP_MAX_CONNECTIONS": "1000"}), Dns()
    dns.start()
    try:
        server.start()
        print(f"after the start: {settled(server):.1f} MiB PSS in {len(server.groups[0].pids())} processes", flush=True)
        send(server, 1000)
        idle = settled(server)
        print(f"idle after 1,000 messages: {idle:.1f} MiB (limit {LIMIT:.0f})", flush=True)
        for tenth in range(10 if options.growth else 0):
            send(server, options.growth // 10)
            print(f"after {(tenth + 1) * options.growth // 10:,} more: {settled(server):.1f} MiB", flush=True)
        if options.big:
            peak = uvloop.run(big_senders(server, options.big, options.big_size))
            print(f"peak with {options.big} senders of {options.big_size:,} octets: {peak:.0f} MiB", flush=True)
            time.sleep(GIVEN_BACK)
            print(f"idle after them: {settled(server):.1f} MiB")
    finally:
        server.stop()
        dns.stop()
    if idle > LIMIT:
        raise SystemExit(f"over the limit: {idle:.1f} > {LIMIT} MiB")


if __name__ == "__main__":
    main()
