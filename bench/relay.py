"""Relaying, side by side: submission, through the queue, to a next hop that counts.

    python bench/relay.py --rounds 7
    python bench/relay.py --rounds 7 --tls              # TLS from the first octet at both
    python bench/relay.py --rounds 7 --tls starttls
    python bench/relay.py --rounds 7 --tls --prompt-acks
    python bench/relay.py --rounds 7 --trusted          # Postfix asks nobody who they are
    python bench/relay.py --rounds 7 --hash plain       # the least work that Dovecot can have
    python bench/relay.py --rounds 7 --hash argon2id    # and so hashed at both
    SMTP_WORKER_CORES=own python bench/relay.py --rounds 7

The same clients log in at both servers, may send only in their own name, and send the same messages; both servers hand
them to the same `smtp-sink`. A message counts when the sink has it. CPU is that of the whole server side, all
processes; client and sink are not counted. Rounds alternate; the table gives medians and ratios. Needs root (cgroups,
mount namespaces) and Debian's postfix and dovecot-core.

At Postfix the login is what its operators set up: Dovecot's auth service with its cache on, nobody may relay but who
has logged in, and a map says whose sender addresses are whose. Passwords are hashed at both: at Dovecot by
SHA512-CRYPT, as those of Linux and of many mail servers are, some 3 ms of CPU each; at Pillarbox by argon2id, some
100 ms, and it remembers for a minute one that was right. Dovecot's cache spares it the lookup, not the hash: with the
same argon2id (`--hash argon2id`) a connection for each message measures argon2 and little else, and 50 clients at
once get no answer in time. With `--hash plain` the password lies in the clear at Dovecot. With `--trusted` Postfix
takes everything from its network instead, without login and sender map; Pillarbox does not know such clients and does
the same as ever.

With TLS 1.3 Postfix writes a session ticket and then its reply, and Nagle's algorithm holds that back until the client
acknowledges the ticket, which Linux delays by 40 ms. Every connection waits for that, with any client; with few
sessions it is most of their time, and the rate says little of the work. `--prompt-acks` has clients acknowledge at
once.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from argon2 import PasswordHasher

from cgroup import Cgroup
from rounds import SIZES, Round, arguments, play, table
from servers import (
    DOVECOT,
    MAIL_USER,
    ROOM_FOR_HASHES,
    ROOT,
    WORK,
    Dns,
    Pillarbox,
    Postfix,
    configure_dovecot,
    in_namespace,
    prepare,
    self_signed,
    user_line,
    wait_port,
)
from submission import conversation, submit

EACH = {"one": 1, "many": 100}  # messages a connection
SINK_PORT = 10127
TO = "someone@elsewhere.test"
LOGIN = "bench@sender.test", "secret of the bench"  # at the peer
AUTH_SOCKET = WORK / "relay-auth" / "socket"
COLUMNS = {
    "Postfix msg/s (CPU s/1000)": lambda m: str(m["postfix-relay"]),
    "Pillarbox": lambda m: str(m["pillarbox"]),
    "rate to Postfix": lambda m: f"{m['pillarbox'].rate / m['postfix-relay'].rate:.1f}",
    "CPU to Postfix": lambda m: f"{m['pillarbox'].cpu / m['postfix-relay'].cpu:.2f}",
    "client and sink, CPU s/1000": lambda m: f"{m['postfix-relay'].load:.2f}, {m['pillarbox'].load:.2f}",
}


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

    def cpu(self) -> float:
        return self._group.cpu()

    def received(self) -> int:
        """Messages since the start; the sink rewrites one line of counts, of which the last is read."""
        with self._counts.open("rb") as counts:
            counts.seek(max(0, os.fstat(counts.fileno()).st_size - 200))
            last = counts.read().rstrip(b"\r").rpartition(b"\r")[2].split()
        # "sess=… quit=… mesg=…"
        return next((int(word[5:]) for word in last if word.startswith(b"mesg=")), 0)


class RelayingPostfix(Postfix):
    """Postfix that relays to the sink what those who have logged in send, or with `password` "" its whole network."""

    def __init__(self, port: int, *, tls: str, password: str) -> None:
        """`tls` as `submission.conversation` has it; `password` as Dovecot keeps it, with its scheme."""
        super().__init__("postfix-relay", port)
        self.tls = tls
        self._password = password
        self.login = LOGIN if password else None
        if password:
            self.groups.append(Cgroup("postfix-relay-auth"))

    def start(self) -> None:
        if self.login:  # before Postfix, which does without a login for a minute when it does not find that service
            log = os.open(WORK / "relay-auth.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            argv = [DOVECOT, "-F", "-c", str(self._configure_auth())]
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
            certificate, key = self_signed(self._home, "localhost")
            settings |= {
                "smtpd_tls_wrappermode": "yes" if self.tls == "implicit" else "no",
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
        settings = f"""\
protocols =
ssl = no
auth_mechanisms = plain login
auth_cache_size = 10M
auth_cache_ttl = 1 hour
service auth {{
  unix_listener {AUTH_SOCKET} {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
{ROOM_FOR_HASHES}"""
        return configure_dovecot(home, MAIL_USER, settings, users=user_line(MAIL_USER, LOGIN[0], self._password, home))


class RelayingPillarbox(Pillarbox):
    """Pillarbox with a route that sends everything to the sink."""

    login: tuple[str, str] | None = None

    def __init__(self, *, tls: str) -> None:
        super().__init__(extra=LIMITLESS | ({} if tls else {"SMTP_REQUIRE_TLS": "false"}))
        self.tls = tls

    def start(self, *, fresh: bool = True) -> None:
        super().start(fresh=fresh)
        self.port = self.ports["submissions" if self.tls == "implicit" else "submission"]
        self.login = self.account["username"], self.account["password"]
        database = str(self.data / "smtp.db")
        for words in (
            ["add", "sink", "smarthost", "--host", "127.0.0.1", "--port", str(SINK_PORT), "--tls", "never"],
            ["use", "sink", "--for", "*"],
        ):
            subprocess.run([ROOT / "pillarbox", "routes", *words, "--db", database], check=True, capture_output=True)


Relay = RelayingPostfix | RelayingPillarbox


def send(server: Relay, sessions: int, messages: int, each: int, size: int, *, prompt_acks: bool) -> None:
    """`messages` messages of `size` octets in `sessions` connections at a time, `each` a connection."""
    sender = server.login[0] if server.login else LOGIN[0]
    content = f"From: <{sender}>\r\nTo: <{TO}>\r\nSubject: relay\r\n\r\n".encode()
    content += (b"x" * 76 + b"\r\n") * (max(0, size - len(content)) // 78) + b".\r\n"
    context = None
    if server.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    counts = [each] * (messages // each) + [messages % each] * bool(messages % each)
    talks = {count: conversation(server.login, sender, TO, content, count, server.tls) for count in set(counts)}
    submit(server.port, (talks[count] for count in counts), sessions, context, prompt_acks=prompt_acks)


def measure(sink: Sink, prompt_acks: bool, server: Relay, size: str, sessions: int, mode: str) -> Round:
    """Submit messages and wait until the sink has all. Raises TimeoutError when some never come."""
    messages = (600 if sessions > 1 else 300) * (1 if isinstance(server, Postfix) else 2)
    before, cpu, load = sink.received(), server.cpu(), sink.cpu() + time.process_time()
    each = min(EACH[mode], max(1, messages // sessions))
    start = time.monotonic()
    send(server, sessions, messages, each, SIZES[size], prompt_acks=prompt_acks)
    client = time.process_time()
    while (got := sink.received() - before) < messages:
        if time.monotonic() - start > 300:
            raise TimeoutError(f"{server.name}: {got} of {messages} arrived")
        time.sleep(0.005)
    rate = messages / (time.monotonic() - start)
    time.sleep(0.3)  # what is still to be tidied up costs too
    if (got := sink.received() - before) != messages:
        raise AssertionError(f"{server.name}: the sink has {got} of {messages} messages")
    cpu, load = server.cpu() - cpu, sink.cpu() + client - load
    return Round(server.name, size, sessions, mode, messages, rate, cpu / messages * 1000, load / messages * 1000)


def stored(how: str) -> str:
    """The password as Dovecot has it."""
    if how == "argon2id":  # as Pillarbox makes them
        return "{ARGON2ID}" + PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4).hash(LOGIN[1])
    if how == "sha512-crypt":  # with its default of 5,000 rounds
        asked = ["openssl", "passwd", "-6", "-stdin"]
        made = subprocess.run(asked, input=LOGIN[1], text=True, capture_output=True, check=True)
        return "{SHA512-CRYPT}" + made.stdout.strip()
    return f"{{PLAIN}}{LOGIN[1]}"


def main() -> None:
    parser = arguments()
    parser.add_argument("--only", choices=("pillarbox", "postfix", "all"), default="all")
    parser.add_argument("--tls", nargs="?", choices=("implicit", "starttls"), const="implicit", default="")
    parser.add_argument("--prompt-acks", action="store_true", help="clients acknowledge what comes at once")
    parser.add_argument("--trusted", action="store_true", help="Postfix trusts the clients' network: no login there")
    parser.add_argument(
        "--hash",
        choices=("plain", "sha512-crypt", "argon2id"),
        default="sha512-crypt",
        help="of the password at Dovecot",
    )
    options = parser.parse_args()
    prepare()
    servers: list[Relay] = [
        RelayingPostfix(10128, tls=options.tls, password="" if options.trusted else stored(options.hash)),
        RelayingPillarbox(tls=options.tls),
    ]
    if options.only != "all":
        servers = [server for server in servers if options.only in server.name]
    sink = Sink()
    with ExitStack() as running:
        for program in (Dns(), sink, *servers):
            running.callback(program.stop)
            program.start()
        rounds = play(servers, options, partial(measure, sink, options.prompt_acks))
    print(table(rounds, COLUMNS))


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


if __name__ == "__main__":
    main()
