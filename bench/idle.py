"""What sessions weigh that only wait: thousands of clients in IDLE over TLS, and how soon one hears of its mail.

    python bench/idle.py                       # 10,000 sessions on two workers
    python bench/idle.py --sessions 1000 --deliveries 200
    python bench/idle.py --sessions 1000 --deliveries 200 --dovecot

Every session is an account of its own (token login, INBOX selected, IDLE), all of them from this one process. The
weight is what the server's proportional set size grew by, all its processes, divided by the sessions; buffers of the
kernel are not in it. Then messages are delivered by SMTP to one account after the other, chosen by chance, at a steady
pace, and the time is taken until that client reads `EXISTS`: from the last octet of the message, and from the `250`.
In the end every session must still be there and answer DONE.

Goals: at most 60 KB (of 1000 octets) a session, and 99 of 100 clients told within 100 ms. `--dovecot` measures Debian's
Dovecot with hibernation in the same way, with deliveries by LMTP; see `hibernation.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import resource
import ssl
import time
from typing import Protocol, cast

import uvloop

from hibernation import HibernatingDovecot
from pillarbox.access.bearer import make_token, token_hash
from pillarbox.access.passwords import hash_password
from pillarbox.store import directory, tokens
from pillarbox.store.opening import open_store
from pillarbox.store.tx import Tx
from servers import Pillarbox, Server, prepare

KB_LIMIT, MS_LIMIT = 60.0, 100.0
DOMAIN = "idle.test"
PATIENCE = 5.0
AT_ONCE = 50  # logins under way


class Waiter(asyncio.Protocol):
    """One client. `ready` is done when it is in IDLE, `told` when it has read EXISTS, `left` after DONE."""

    __slots__ = ("_after", "_buffer", "_transport", "left", "lost", "ready", "told")

    def __init__(self, login: bytes) -> None:
        self._buffer = b""
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.left: asyncio.Future[None] | None = None
        self.told: asyncio.Future[float] | None = None
        self.lost = False
        self._after = {
            b"* OK": b"a " + login + b"\r\n",
            b"a OK": b"b SELECT INBOX\r\n",
            b"b OK": b"c IDLE\r\n",
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are no instances of it

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            if line.endswith(b" EXISTS") and self.told is not None:
                self.told.set_result(time.perf_counter())
                self.told = None
            elif line.startswith(b"+") and not self.ready.done():
                self._after = {}
                self.ready.set_result(None)
            elif line.startswith(b"c OK") and self.left is not None:
                self.left.set_result(None)
            elif (command := self._after.pop(line[:4], None)) is not None:
                self._transport.write(command)
            elif line[:4] in (b"a NO", b"b NO", b"c NO", b"* BY"):
                self._fail(OSError(line.decode()))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._fail(error or OSError("the server closed the connection"))

    def leave(self) -> asyncio.Future[None]:
        self.left = asyncio.get_running_loop().create_future()
        if self.lost:
            self.left.set_exception(OSError("it had gone"))
        else:
            self._transport.write(b"DONE\r\n")
        return self.left

    def close(self) -> None:
        self._transport.close()

    def _fail(self, error: Exception) -> None:
        for waiting in (self.ready, self.told, self.left):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)


class Subject(Protocol):
    """What is measured. `port` takes SMTP, or LMTP if `hello` says so."""

    port: int
    hello: bytes
    imaps: int
    context: ssl.SSLContext
    server: Server

    async def accounts(self, count: int) -> list[bytes]:
        """Make u0, u1, …; the command by which each logs in."""
        ...


class OurSide:
    hello = b"EHLO"

    def __init__(self, sessions: int) -> None:
        room = str(sessions + 1000)
        limits = {"SMTP_MAX_CONNECTIONS": room, "SMTP_CONNECTIONS_PER_IP": room, "SMTP_RATE_LIMIT_PER_IP": "1000000"}
        self.server = Pillarbox(extra=limits)

    async def accounts(self, count: int) -> list[bytes]:
        self.port, self.imaps = self.server.port, self.server.ports["imaps"]
        self.context = ssl.create_default_context(cafile=str(self.server.ready["ca"]))
        tokens_made = await make_accounts(str(self.server.data / "smtp.db"), count)
        initial = (base64.b64encode(b"n,,\1auth=Bearer %b\1\1" % token.encode()) for token in tokens_made)
        return [b"AUTHENTICATE OAUTHBEARER " + response for response in initial]


class TheirSide:
    hello = b"LHLO"

    def __init__(self) -> None:
        self.server = HibernatingDovecot()
        self.port, self.imaps = self.server.port, self.server.imaps

    async def accounts(self, count: int) -> list[bytes]:
        self.context = self.server.context
        return [f"LOGIN u{number}@{DOMAIN} any".encode() for number in range(count)]


async def make_accounts(database: str, count: int) -> list[str]:
    """Accounts u0, u1, … with a token each; the tokens. They share one hash, since nobody uses the password."""
    hashed, scram = hash_password("never used")
    made = [make_token() for _ in range(count)]

    def some(tx: Tx, numbers: range) -> None:
        for number in numbers:
            address = f"u{number}@{DOMAIN}"
            user = directory.create_user(tx, address, address, hashed, scram=scram)
            tokens.add(tx, user.id, token_hash(made[number]), expires_at=None)

    store = await open_store(database)
    try:
        await store.write(directory.create_domain, DOMAIN)
        for at in range(0, count, 100):
            await store.write(some, range(at, min(at + 100, count)))
    finally:
        await store.close()
    return made


async def settle(server: Server) -> float:
    """PSS in MiB once it no longer falls."""
    lowest = server.pss()
    for _ in range(15):
        await asyncio.sleep(1)
        now = server.pss()
        if now > lowest - 0.5:
            return min(now, lowest)
        lowest = now
    return lowest


async def deliver(
    subject: Subject, waiters: list[Waiter], deliveries: int, pace: float
) -> tuple[list[float], list[float]]:
    """Seconds until the client has read EXISTS, sorted: from the end of the message, and from the 250; at most
    `PATIENCE`, which stands for never."""
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port)

    async def reply(wanted: bytes) -> None:
        while (line := await reader.readline())[3:4] == b"-":
            pass
        if not line.startswith(wanted):
            raise OSError(f"refused: {line!r}")

    await reply(b"220")
    writer.write(subject.hello + b" bench.test\r\n")
    await reply(b"250")
    whole, after, choice = list[float](), list[float](), random.Random(4)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for number in range(deliveries):
        await asyncio.sleep(max(0.0, begin + number / pace - loop.time()))
        at = choice.randrange(len(waiters))
        told = waiters[at].told = loop.create_future()
        writer.write(b"MAIL FROM:<bench@sender.test>\r\n")
        await reply(b"250")
        writer.write(b"RCPT TO:<u%d@%b>\r\n" % (at, DOMAIN.encode()))
        await reply(b"250")
        writer.write(b"DATA\r\n")
        await reply(b"354")
        sent = time.perf_counter()
        writer.write(b"Subject: news %d\r\nFrom: bench@sender.test\r\n\r\n" % number + b"x" * 70 + b"\r\n.\r\n")
        await reply(b"250")
        accepted = time.perf_counter()
        try:
            read = await asyncio.wait_for(told, PATIENCE)
        except TimeoutError:
            waiters[at].told, read = None, sent + PATIENCE
        whole.append(read - sent)
        after.append(max(0.0, read - accepted))
    writer.write(b"QUIT\r\n")
    writer.close()
    return sorted(whole), sorted(after)


async def run(subject: Subject, sessions: int, deliveries: int, pace: float) -> bool:
    """Print what is seen; True when all goals were met."""
    server, made = subject.server, await subject.accounts(sessions)
    before = await settle(server)
    print(f"before the first session: {before:.1f} MiB PSS in {len(server.groups[0].pids())} processes", flush=True)
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one(login: bytes) -> Waiter:
        async with gate:
            _, waiter = await loop.create_connection(
                lambda: Waiter(login), "127.0.0.1", subject.imaps, ssl=subject.context, server_hostname="localhost"
            )
            await asyncio.wait_for(waiter.ready, 60)
            return waiter

    began, cpu = time.monotonic(), server.cpu()
    waiters = await asyncio.gather(*(one(login) for login in made))
    seconds = time.monotonic() - began
    print(
        f"{sessions:,} logins over TLS in {seconds:.1f} s, {server.cpu() - cpu:.1f} s of the server's CPU", flush=True
    )
    idle = await settle(server)
    weight = (idle - before) * 1024 * 1024 / sessions / 1000
    print(f"{sessions:,} sessions in IDLE: {idle:.1f} MiB PSS, {weight:.1f} KB each (goal {KB_LIMIT:.0f})", flush=True)
    cpu = server.cpu()
    await asyncio.sleep(10)
    print(f"CPU while nothing happens: {(server.cpu() - cpu) * 10:.1f} % of one processor", flush=True)
    late = 0.0
    for name, seen in zip(
        ("end of the message", "250"), await deliver(subject, waiters, deliveries, pace), strict=True
    ):
        shown = [seen[min(int(len(seen) * q), len(seen) - 1)] * 1000 for q in (0.5, 0.9, 0.99, 1)]
        late = max(late, shown[2])
        p50, p90, p99, worst = (f"{ms:.1f}" for ms in shown)
        print(f"told after the {name}, ms: p50 {p50}, p90 {p90}, p99 {p99}, max {worst} ({len(seen)} deliveries)")
    gone = sum(waiter.lost for waiter in waiters)
    answers = await asyncio.wait_for(asyncio.gather(*(w.leave() for w in waiters), return_exceptions=True), 120)
    left = sum(answer is None for answer in answers)
    print(f"after {server.pss():.1f} MiB PSS; {gone} sessions were lost, {left:,} of {sessions:,} answered DONE")
    for waiter in waiters:
        waiter.close()
    return weight <= KB_LIMIT and late <= MS_LIMIT and left == sessions


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--deliveries", type=int, default=1000)
    parser.add_argument("--pace", type=float, default=25, help="deliveries a second")
    parser.add_argument("--dovecot", action="store_true", help="measure Dovecot with hibernation instead")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    prepare()
    subject = TheirSide() if options.dovecot else OurSide(options.sessions)
    try:
        subject.server.start()
        good = uvloop.run(run(subject, options.sessions, options.deliveries, options.pace))
    finally:
        subject.server.stop()
    if not good:
        raise SystemExit("a goal was missed")


if __name__ == "__main__":
    main()
