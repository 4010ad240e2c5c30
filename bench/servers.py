"""The servers that are measured side by side, each in its own cgroup and each with its own fsync.

`Postfix` to Maildir, `Postfix` handing to `Dovecot` by LMTP, and Pillarbox as `pillarbox try` starts it. Each is set up
from nothing under one work folder. Debian's packages `postfix dovecot-core dovecot-imapd dovecot-lmtpd` must be
installed (their own services not running); everything listens on loopback only.
"""

from __future__ import annotations

import imaplib
import json
import os
import pwd
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from pathlib import Path

from cgroup import Cgroup

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from peer_settings import DOVECOT, configure_dovecot, configure_postfix, user_line
from self_signed import self_signed

__all__ = ["DOVECOT", "configure_dovecot", "self_signed", "user_line"]  # for the other benchmarks too

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = Path(os.environ.get("PILLARBOX_BENCH_WORK", "/tmp/pillarbox-bench"))
MAIL_USER = "vmail"
# Dovecot's processes that check passwords; argon2 wants 64 MiB each.
ROOM_FOR_HASHES = """\
service auth {
  vsz_limit = 1G
}
service auth-worker {
  vsz_limit = 1G
}
"""


def prepare() -> None:
    """The work folder and the account that owns the peers' mail."""
    WORK.mkdir(exist_ok=True)
    try:
        pwd.getpwnam(MAIL_USER)
    except KeyError:
        subprocess.run(["useradd", "-r", "-s", "/usr/sbin/nologin", MAIL_USER], check=True)
    (WORK / "resolv.conf").write_text("nameserver 127.0.0.153\noptions timeout:1 attempts:1\n")


def in_namespace(argv: list[str]) -> list[str]:
    """`argv` with the resolver of `dns.py` as its /etc/resolv.conf, in a mount namespace of its own."""
    script = f'mount --bind {WORK}/resolv.conf /etc/resolv.conf; exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh", *argv]


def wait_port(port: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


class Server:
    """What the benchmarks ask of a server; `cpu` and `pss` cover all its processes."""

    name: str
    port: int
    recipient = "u@bench.test"
    groups: list[Cgroup]

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        for group in self.groups:
            group.stop()

    def delivered(self) -> int:
        """Messages that are in the mailbox now."""
        raise NotImplementedError

    def empty(self) -> None:
        """Take all messages out of the mailbox, in the way that keeps this server fast."""
        raise NotImplementedError

    def cpu(self) -> float:
        return sum(group.cpu() for group in self.groups)

    def pss(self) -> float:
        return sum(group.pss() for group in self.groups)


class Dns:
    """Not measured: the resolver all servers under test share."""

    def __init__(self) -> None:
        self.group = Cgroup("dns")

    def start(self) -> None:
        self.group.start([sys.executable, str(HERE / "dns.py")])
        time.sleep(0.3)

    def stop(self) -> None:
        self.group.stop()


def _log(name: str) -> int:
    return os.open(WORK / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


class Postfix(Server):
    """Postfix that delivers to a Maildir itself (`virtual`), or hands over by LMTP to port `lmtp`."""

    def __init__(self, name: str, port: int, lmtp: int | None = None) -> None:
        self.name, self.port, self._lmtp = name, port, lmtp
        self._home = WORK / name
        self.groups = [Cgroup(name)]

    def start(self) -> None:
        self._configure()
        argv = ["/usr/lib/postfix/sbin/master", "-c", str(self._home / "etc"), "-d"]
        log = _log(self.name)
        self.groups[0].start(in_namespace(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_port(self.port)

    def delivered(self) -> int:
        return sum(1 for _ in os.scandir(self._new)) if self._new.is_dir() else 0

    def empty(self) -> None:
        for entry in os.scandir(self._new) if self._new.is_dir() else ():
            os.unlink(entry.path)

    @property
    def _new(self) -> Path:
        return self._home / "mail" / "u" / "new"

    def _configure(self) -> None:
        home = self._home
        shutil.rmtree(home, ignore_errors=True)
        transport = f"lmtp:inet:127.0.0.1:{self._lmtp}" if self._lmtp else "virtual"
        settings = f"""\
myhostname = mx.bench.test
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
message_size_limit = 104857600
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = bench.test
virtual_mailbox_maps = inline:{{ {{ u@bench.test = u/ }} }}
virtual_transport = {transport}
smtpd_recipient_restrictions =
smtp_host_lookup = native
disable_dns_lookups = yes
"""
        configure_postfix(home, MAIL_USER, settings, smtp=f"127.0.0.1:{self.port}")


class PostfixDovecot(Postfix):
    """Postfix in front, Dovecot behind it by LMTP, mail in a Maildir of Dovecot's."""

    def __init__(self, name: str, port: int, lmtp: int, imap: int) -> None:
        super().__init__(name, port, lmtp)
        self._imap, self._dovecot = imap, WORK / "dovecot"
        self.groups.append(Cgroup("dovecot"))

    def start(self) -> None:
        self._configure_dovecot()
        argv = [DOVECOT, "-F", "-c", str(self._dovecot / "dovecot.conf")]
        log = _log("dovecot")
        self.groups[1].start(in_namespace(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_port(self._lmtp or 0)
        super().start()

    def empty(self) -> None:
        with imaplib.IMAP4("127.0.0.1", self._imap) as client:
            client.login("u@bench.test", "secret")
            _expunge_all(client)

    @property
    def _new(self) -> Path:
        return self._dovecot / "mail" / "u" / "Maildir" / "new"

    def _configure_dovecot(self) -> None:
        home = self._dovecot
        shutil.rmtree(home, ignore_errors=True)
        settings = f"""\
protocols = imap lmtp
ssl = no
mail_location = maildir:{home}/mail/%n/Maildir
service imap-login {{
  inet_listener imap {{
    port = {self._imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
{lmtp_listener(self._lmtp or 0)}"""
        users = user_line(MAIL_USER, "u@bench.test", "{PLAIN}secret", home / "mail" / "u")
        configure_dovecot(home, MAIL_USER, settings, users=users)


def lmtp_listener(port: int) -> str:
    """Dovecot's LMTP on `port` of loopback."""
    return f"""\
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


class Pillarbox(Server):
    """`pillarbox try` in a data folder of its own, two workers, its log in a file as the peers' are."""

    name = "pillarbox"

    def __init__(self, port: int = 14000, extra: dict[str, str] | None = None) -> None:
        self._ports_from, self._extra = port, extra or {}
        self.data = WORK / "pillarbox"
        self.groups = [Cgroup("pillarbox")]
        self.ready: dict[str, object] = {}

    def start(self, *, fresh: bool = True) -> None:
        """`fresh`: with nothing in it; else on with what it had when it was stopped."""
        if fresh:
            shutil.rmtree(self.data, ignore_errors=True)
        argv = [str(ROOT / "pillarbox"), "try", "--json", "--data", str(self.data)]
        argv += ["--ports-from", str(self._ports_from)]
        process = self.groups[0].start(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=_log(self.name),
            env={**os.environ, "SMTP_WORKER_THREADS": "2", "SMTP_MAX_MESSAGE_SIZE": "104857600", **self._extra},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise OSError(f"pillarbox try did not start: see {WORK}/{self.name}.log")
        self.ready = json.loads(line)
        self.port = self.ports["smtp"]
        self.account = self.ready["accounts"][0]  # type: ignore[index]
        self.recipient = self.account["username"]

    @property
    def ports(self) -> dict[str, int]:
        return self.ready["ports"]  # type: ignore[return-value]

    def delivered(self) -> int:
        database = sqlite3.connect(f"file:{self.data}/smtp.db?mode=ro", uri=True, timeout=30)
        try:
            query = "SELECT count(*) FROM messages m JOIN mailboxes b ON b.id = m.mailbox_id WHERE b.name = 'INBOX'"
            return int(database.execute(query).fetchone()[0])
        finally:
            database.close()

    def empty(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ready["ca"]))
        with imaplib.IMAP4_SSL("localhost", self.ports["imaps"], ssl_context=context) as client:
            client.login(self.account["username"], self.account["password"])
            _expunge_all(client)


def _expunge_all(client: imaplib.IMAP4) -> None:
    imaplib._MAXLINE = 50_000_000  # type: ignore[attr-defined]
    _, count = client.select("INBOX")
    if int(count[0] or 0):
        client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        client.expunge()
