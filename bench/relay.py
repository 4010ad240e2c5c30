"""Relaying, side by side: submission, through the queue, to a next hop that counts.

    python bench/relay.py --rounds 7
    python bench/relay.py --rounds 7 --tls              # TLS from the first byte at both
    python bench/relay.py --rounds 7 --trusted          # Postfix asks nobody who they are
    python bench/relay.py --rounds 7 --hash argon2id    # and so hashed at both

The same clients log in at both servers, may send only in their own name, and send the same messages; both servers hand
them to the same `smtp-sink`. A message counts when the sink has it. CPU is that of the whole server side, all
processes; client and sink are not counted. Rounds alternate; the table gives medians and ratios. Needs root (cgroups,
mount namespaces) and Debian's postfix and dovecot-core.

At Postfix the login is what its operators set up: Dovecot's auth service with its cache on, nobody may relay but who
has logged in, and a map says whose sender addresses are whose. Pillarbox hashes passwords with argon2id and remembers
for a minute one that was right. Dovecot's cache spares it the lookup, not the hash: with the same argon2id (`--hash
argon2id`) a connection for each message measures argon2 and little else. So at Dovecot the password lies in the clear
unless that is asked for, which is the least work it can have. With `--trusted` Postfix takes everything from its
network instead, without login and sender map; Pillarbox does not know such clients and does the same as ever.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import pwd
import shutil
import ssl
import subprocess
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import uvloop
from argon2 import PasswordHasher

from cgroup import Cgroup
from servers import MAIL_USER, ROOT, WORK, Dns, Pillarbox, Postfix, in_namespace, prepare, wait_port

SIZES = {"1K": 1024, "10K": 10 * 1024, "100K": 100 * 1024}
SESSIONS = (1, 10, 50)
MODES = {"one": 1, "many": 100}  # messages a connection
SINK_PORT = 10127
TO = "someone@elsewhere.test"
LOGIN = "bench@sender.test", "secret of the bench"  # at the peer
AUTH_SOCKET = WORK / "relay-auth" / "socket"


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
    """Postfix that relays to the sink what those who have logged in send, or with `password` "" its whole network."""

    def __init__(self, port: int, *, tls: bool, password: str) -> None:
        """`password`: as Dovecot keeps it, with its scheme."""
        super().__init__("postfix-relay", port)
        self.tls = tls
        self._password = password
        self.login = LOGIN if password else None
        if password:
            self.groups.append(Cgroup("postfix-relay-auth"))

    def start(self) -> None:
        if self.login:  # before Postfix, which does without a login for a minute when it does not find that service
            log = os.open(WORK / "relay-auth.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            argv = ["/usr/sbin/dovecot", "-F", "-c", str(self._configure_auth())]
            self.groups[1].start(in_namespace(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            end = time.monotonic() + 20
            while not AUTH_SOCKET.is_socket():
                if time.monotonic() > end:
                    raise TimeoutError("Dovecot's auth service did not start")
                time.sleep(0.1)
        super().start()

    def _configure(self) -> None:
        super()._configure()
        settings = {
            "virtual_mailbox_domains": "",
            "relayhost": f"[127.0.0.1]:{SINK_PORT}",
            "smtp_tls_security_level": "none",
            "smtpd_client_connection_count_limit": "0",
        }
        if self.login:
            settings |= {
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": str(AUTH_SOCKET),
                "smtpd_sender_login_maps": f"inline:{{ {{ {LOGIN[0]} = {LOGIN[0]} }} }}",
                "smtpd_sender_restrictions": "reject_sender_login_mismatch",
                "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            }
        if self.tls:
            certificate, key = make_certificate()
            settings |= {
                "smtpd_tls_wrappermode": "yes",
                "smtpd_tls_security_level": "encrypt",
                "smtpd_tls_cert_file": str(certificate),
                "smtpd_tls_key_file": str(key),
            }
        words = [f"{name}={value}" for name, value in settings.items()]
        subprocess.run(["postconf", "-c", self._home / "etc", "-e", *words], check=True)

    def _configure_auth(self) -> Path:
        """Dovecot with its auth service and nothing else."""
        home = AUTH_SOCKET.parent
        shutil.rmtree(home, ignore_errors=True)
        (home / "run").mkdir(parents=True)
        owner = pwd.getpwnam(MAIL_USER)
        (home / "users").write_text(f"{LOGIN[0]}:{self._password}:{owner.pw_uid}:{owner.pw_gid}::{home}::\n")
        (home / "dovecot.conf").write_text(f"""\
base_dir = {home}/run
state_dir = {home}/run/state
log_path = {home}/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_cache_size = 10M
auth_cache_ttl = 1 hour
first_valid_uid = 100
first_valid_gid = 100
passdb {{
  driver = passwd-file
  args = username_format=%u {home}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {home}/users
}}
service auth {{
  vsz_limit = 1G
  unix_listener {AUTH_SOCKET} {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service auth-worker {{
  vsz_limit = 1G
}}
""")
        return home / "dovecot.conf"


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
    sender = server.login[0] if server.login else LOGIN[0]
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
    parser.add_argument("--trusted", action="store_true", help="Postfix trusts the clients' network: no login there")
    parser.add_argument("--hash", choices=("plain", "argon2id"), default="plain", help="of the password at Dovecot")
    options = parser.parse_args()
    prepare()
    password = f"{{PLAIN}}{LOGIN[1]}"
    if options.hash == "argon2id":  # as Pillarbox makes them
        password = "{ARGON2ID}" + PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4).hash(LOGIN[1])
    servers: list[Relay] = [
        RelayingPostfix(10128, tls=options.tls, password="" if options.trusted else password),
        RelayingPillarbox(tls=options.tls),
    ]
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
