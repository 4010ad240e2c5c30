"""Relaying, side by side: submission, through the queue, to a next hop that counts.

    python bench/relay.py --rounds 7
    python bench/relay.py --rounds 7 --tls      # TLS from the first byte at both

The same clients (at Pillarbox they log in, at Postfix their network is trusted) send the same messages to both servers,
and both hand them to the same `smtp-sink`. A message counts when the sink has it. CPU is that of the whole server side,
all processes; client and sink are not counted. Rounds alternate; the table gives medians and ratios. Needs root
(cgroups, mount namespaces) and Debian's postfix.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import ssl
import subprocess
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import uvloop

from cgroup import Cgroup
from servers import ROOT, WORK, Dns, Pillarbox, Postfix, prepare, wait_port

SIZES = {"1K": 1024, "10K": 10 * 1024, "100K": 100 * 1024}
SESSIONS = (1, 10, 50)
MODES = {"one": 1, "many": 100}  # messages a connection
SINK_PORT = 10127
TO = "someone@elsewhere.test"


class Sink:
    """The next hop: `smtp-sink` counts what it has received and keeps nothing."""

    def __init__(self) -> None:
        self._group = Cgroup("sink")
        self._counts = WORK / "sink.count"

    def start(self) -> None:
        output = os.open(self._counts, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        argv = ["smtp-sink", "-c", "-u", "postfix", f"127.0.0.1:{SINK_PORT}", "1024"]
        self._group.start(argv, stdin=subprocess.DEVNULL, stdout=output)
        wait_port(SINK_PORT)

    def stop(self) -> None:
        self._group.stop()

    def received(self) -> int:
        """Messages since the start; the sink rewrites one line of counts, of which the last is read."""
        with self._counts.open("rb") as counts:
            counts.seek(max(0, os.fstat(counts.fileno()).st_size - 200))
            last = counts.read().rstrip(b"\r").rpartition(b"\r")[2].split()
        # "sess=… quit=… mesg=…"
        return next((int(word[5:]) for word in last if word.startswith(b"mesg=")), 0)


class RelayingPostfix(Postfix):
    """Postfix that takes everything from its trusted network and relays it to the sink."""

    def __init__(self, port: int, *, tls: bool) -> None:
        super().__init__("postfix-relay", port)
        self.tls = tls
        self.login: tuple[str, str] | None = None

    def _configure(self) -> None:
        super()._configure()
        with (self._home / "etc" / "main.cf").open("a") as main_cf:
            main_cf.write(f"""\
virtual_mailbox_domains =
relayhost = [127.0.0.1]:{SINK_PORT}
smtp_tls_security_level = none
smtpd_client_connection_count_limit = 0
""")
            if self.tls:
                certificate, key = make_certificate()
                main_cf.write(f"""\
smtpd_tls_wrappermode = yes
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
""")


class RelayingPillarbox(Pillarbox):
    """Pillarbox with a route that sends everything to the sink."""

    login: tuple[str, str] | None = None

    def __init__(self, *, tls: bool) -> None:
        super().__init__(extra=LIMITLESS | ({} if tls else {"SMTP_REQUIRE_TLS": "false"}))
        self.tls = tls

    def start(self) -> None:
        super().start()
        self.port = self.ports["submissions" if self.tls else "submission"]
        self.login = self.account["username"], self.account["password"]
        database = str(self.data / "smtp.db")
        for words in (
            ["add", "sink", "smarthost", "--host", "127.0.0.1", "--port", str(SINK_PORT), "--tls", "never"],
            ["use", "sink", "--for", "*"],
        ):
            subprocess.run([ROOT / "pillarbox", "routes", *words, "--db", database], check=True, capture_output=True)


Relay = RelayingPostfix | RelayingPillarbox


class Client(asyncio.Protocol):
    """One connection: greeting, AUTH where there is a login, then `messages` messages, pipelined up to DATA."""

    def __init__(self, login: tuple[str, str] | None, sender: str, body: bytes, messages: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages, self._buffer = messages, b""
        envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{TO}>\r\nDATA\r\n".encode()
        script: list[tuple[bytes, int]] = [(b"EHLO bench.test\r\n", 1)]  # what to say, replies to wait for after it
        if login:
            words = base64.b64encode(b"\0%s\0%s" % (login[0].encode(), login[1].encode()))
            script.append((b"AUTH PLAIN " + words + b"\r\n", 1))
        self._script = iter([*script, *([(envelope, 3), (body, 1)] * messages)])
        self._awaited = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            if not line.startswith((b"2", b"3")):
                self._end(OSError(f"refused: {line!r}"))
                return
            self._awaited -= 1
        if not self._awaited:
            self._next()

    def _next(self) -> None:
        step = next(self._script, None)
        if step is None:
            self._transport.write(b"QUIT\r\n")
            self._end(None)
            return
        said, self._awaited = step
        self._transport.write(said)

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None) if error is None else self.done.set_exception(error)
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or OSError("the server closed the connection"))


def _same(client: Client) -> Client:
    return client


async def send(server: Relay, sessions: int, messages: int, each: int, size: int) -> None:
    """`messages` messages of `size` octets in `sessions` connections at a time, `each` a connection."""
    sender = server.login[0] if server.login else "bench@sender.test"
    body = f"From: <{sender}>\r\nTo: <{TO}>\r\nSubject: relay\r\n\r\n".encode()
    body += (b"x" * 76 + b"\r\n") * (max(0, size - len(body)) // 78) + b".\r\n"
    context = None
    if server.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    loop, left = asyncio.get_running_loop(), messages

    async def session() -> None:
        nonlocal left
        while left > 0:
            count = min(each, left)
            left -= count
            client = Client(server.login, sender, body, count)
            await loop.create_connection(partial(_same, client), "127.0.0.1", server.port, ssl=context)
            await client.done

    await asyncio.gather(*(session() for _ in range(sessions)))


@dataclass
class Round:
    """One server, one kind of load, once. `rate` in messages a second, `cpu` in seconds per thousand messages."""

    server: str
    size: str
    sessions: int
    mode: str
    messages: int
    rate: float
    cpu: float


def measure(server: Relay, sink: Sink, size: str, sessions: int, mode: str, messages: int) -> Round:
    """Submit `messages` and wait until the sink has all. Raises TimeoutError when some never come."""
    before, cpu = sink.received(), server.cpu()
    each = min(MODES[mode], max(1, messages // sessions))
    start = time.monotonic()
    uvloop.run(send(server, sessions, messages, each, SIZES[size]))
    while (got := sink.received() - before) < messages:
        if time.monotonic() - start > 300:
            raise TimeoutError(f"{server.name}: {got} of {messages} arrived")
        time.sleep(0.005)
    rate = messages / (time.monotonic() - start)
    if got > messages:
        raise AssertionError(f"{server.name}: the sink has {got} of {messages} messages")
    time.sleep(0.3)  # what is still to be tidied up costs too
    return Round(server.name, size, sessions, mode, messages, rate, (server.cpu() - cpu) / messages * 1000)


def table(rounds: list[Round]) -> str:
    """Medians of all rounds as a Markdown table, with the ratios to Postfix."""
    lines = [
        "| size | sessions | messages a connection | Postfix msg/s (CPU s/1000) | Pillarbox | rate to Postfix "
        "| CPU to Postfix |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, sessions, mode in dict.fromkeys((r.size, r.sessions, r.mode) for r in rounds):
        shown, medians = [], []
        for name in ("postfix-relay", "pillarbox"):
            mine = [r for r in rounds if (r.server, r.size, r.sessions, r.mode) == (name, size, sessions, mode)]
            if not mine:
                break
            medians.append((median(r.rate for r in mine), median(r.cpu for r in mine)))
            shown.append(f"{medians[-1][0]:.0f} ({medians[-1][1]:.2f})")
        if len(medians) == 2:
            (theirs, their_cpu), (ours, our_cpu) = medians
            kept = "one" if mode == "one" else "many"
            lines.append(
                f"| {size} | {sessions} | {kept} | {shown[0]} | {shown[1]} | {ours / theirs:.1f} "
                f"| {our_cpu / their_cpu:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("pillarbox", "postfix", "all"), default="all")
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--sessions", nargs="*", type=int, default=list(SESSIONS))
    parser.add_argument("--modes", nargs="*", choices=list(MODES), default=list(MODES))
    parser.add_argument("--json", type=Path, help="write every round there too")
    parser.add_argument("--tls", action="store_true", help="TLS from the first byte")
    options = parser.parse_args()
    prepare()
    servers: list[Relay] = [RelayingPostfix(10128, tls=options.tls), RelayingPillarbox(tls=options.tls)]
    if options.only != "all":
        servers = [server for server in servers if options.only in server.name]
    dns, sink, started, rounds = Dns(), Sink(), list[Relay](), list[Round]()
    dns.start()
    sink.start()
    try:
        for server in servers:
            started.append(server)
            server.start()
        for number in range(options.rounds):
            for size, sessions, mode in itertools.product(options.sizes, options.sessions, options.modes):
                for server in servers:
                    messages = (600 if sessions > 1 else 300) * (1 if "postfix" in server.name else 2)
                    done = measure(server, sink, size, sessions, mode, messages)
                    rounds.append(done)
                    print(
                        f"{number + 1}/{options.rounds} {server.name:16} {size:>4} x{sessions:<2} {mode:4} "
                        f"{done.rate:7.0f} msg/s  {done.cpu:6.2f} CPU s/1000",
                        flush=True,
                    )
    finally:
        for server in started:
            server.stop()
        sink.stop()
        dns.stop()
        if options.json:
            options.json.write_text(json.dumps([asdict(r) for r in rounds]))
    print(table(rounds))


# The load is one account's: what protects against a stolen password would end it.
LIMITLESS = {
    "SMTP_RATE_LIMIT_PER_USER": "1000000",
    "SMTP_MESSAGES_PER_HOUR": "0",
    "SMTP_MESSAGES_PER_DAY": "0",
    "SMTP_RECIPIENTS_PER_HOUR": "0",
    "SMTP_RECIPIENTS_PER_DAY": "0",
    "SMTP_NEW_RECIPIENTS_PER_HOUR": "0",
    "SMTP_QUEUE_BATCH_SIZE": "100",  # as in the production profile, these two; Postfix has 20 connections too
    "SMTP_DESTINATION_CONNECTIONS": "20",
}


def make_certificate() -> tuple[Path, Path]:
    """A P-256 certificate for the peer, of the kind that Pillarbox makes for itself."""
    certificate, key = WORK / "relay.pem", WORK / "relay.key"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
    subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


if __name__ == "__main__":
    main()
