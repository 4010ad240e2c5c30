"""The IMAP servers that are measured side by side: Pillarbox, Dovecot with three formats of mailbox, Cyrus.

All listen on loopback, by TLS with the certificate that `pillarbox try` made. Accounts: one a format, beside it one of
the same format that gets deliveries, and `l0…` for logins. Dovecot hashes with argon2id and the parameters of Pillarbox
(the very same string), has its password cache on (which spares the lookup, not the hash), and logs in by its fast mode.
Cyrus checks no password (`imapd -N`), so its logins are not measured. Nobody has a full text index but Pillarbox, whose
default it is.

Needs Debian's dovecot-core, dovecot-imapd and dovecot-lmtpd; their own services do not run. Debian's cyrus-imapd must
not be installed, since apt takes dovecot-imapd away for it: it is unpacked into a folder (PILLARBOX_BENCH_CYRUS, else
`cyrus-root` in the work folder), and left out when that is not there:

    apt-get download cyrus-imapd cyrus-common libical3 libpcre3 libzephyr4 libclamav12 libmspack0
    for package in *.deb; do dpkg -x "$package" cyrus-root; done
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from argon2 import PasswordHasher

from cgroup import Cgroup
from imap_wire import Wire
from pillarbox.access.passwords import scram_keys
from pillarbox.store import directory, summaries, summary_texts
from pillarbox.store.opening import open_store
from pillarbox.store.tx import Tx
from servers import (
    DOVECOT,
    MAIL_USER,
    ROOM_FOR_HASHES,
    WORK,
    Pillarbox,
    configure_dovecot,
    lmtp_listener,
    user_line,
    wait_port,
)

SECRET = "secret"
DOMAIN = "bench.test"
HASH = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4).hash(SECRET)
CYRUS_ROOT = Path(os.environ.get("PILLARBOX_BENCH_CYRUS", WORK / "cyrus-root"))
CYRUS = CYRUS_ROOT / "usr/lib/cyrus/bin"


class ImapServer(Protocol):
    """One server process tree."""

    name: str
    imaps: int
    lmtp: int

    def start(self, *, fresh: bool) -> None: ...
    def stop(self) -> None: ...
    def pss(self) -> float: ...
    def cpu(self) -> float: ...
    @property
    def home(self) -> Path: ...
    def settled(self) -> bool:
        """Whether nothing goes on in the background any more."""
        ...


@dataclass
class Subject:
    """What has a column in the table: a server with one format of mailbox."""

    name: str
    server: ImapServer
    user: str
    context: ssl.SSLContext | None
    logins: bool = True  # it checks passwords

    @property
    def waiter(self) -> str:
        return self.user.replace("@", "-idle@")

    def login(self, user: str = "") -> Wire:
        return Wire(self.server.imaps, self.context).login(user or self.user, SECRET)


class PillarboxImap(Pillarbox):
    """Pillarbox with the accounts of the benchmark."""

    def __init__(self, logins: int) -> None:
        super().__init__(14400, {"SMTP_MAX_CONNECTIONS": "5000", "SMTP_CONNECTIONS_PER_IP": "5000"})
        self._logins = logins

    def start(self, *, fresh: bool = True) -> None:
        super().start(fresh=fresh)
        self.imaps, self.lmtp = self.ports["imaps"], self.ports["lmtp"]
        if fresh:
            asyncio.run(self._accounts())

    @property
    def home(self) -> Path:
        return self.data

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ready["ca"]))

    def settled(self) -> bool:
        return asyncio.run(self._nothing_waits())

    async def _accounts(self) -> None:
        names = ["pb", "pb-idle", *(f"l{n}" for n in range(self._logins))]
        keys = scram_keys(SECRET)

        def make(tx: Tx) -> None:
            directory.create_domain(tx, DOMAIN)
            for name in names:
                directory.create_user(tx, f"{name}@{DOMAIN}", f"{name}@{DOMAIN}", HASH, scram=keys)

        store = await open_store(self.data / "smtp.db")
        try:
            await store.write(make)
        finally:
            await store.close()

    async def _nothing_waits(self) -> bool:
        store = await open_store(self.data / "smtp.db")
        try:
            waiting = [(await store.search.status(store)).waiting]
            waiting += [await store.scan(one.due) for one in (summaries, summary_texts)]
            return not any(waiting)
        finally:
            await store.close()


class Peer:
    """What Dovecot and Cyrus have in common."""

    name: str

    def __init__(self, imaps: int, lmtp: int, logins: int, certificates: Path) -> None:
        self.imaps, self.lmtp, self._logins, self._certificates = imaps, lmtp, logins, certificates
        self._group: Cgroup | None = None

    @property
    def home(self) -> Path:
        return WORK / f"imap-{self.name}"

    def _run(self, argv: list[str], **env: str) -> None:
        self._group = Cgroup(f"imap-{self.name}")
        log = os.open(WORK / f"imap-{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            self._group.start(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env})
        finally:
            os.close(log)
        wait_port(self.imaps)
        wait_port(self.lmtp)

    def stop(self) -> None:
        if self._group is not None:
            self._group.stop()
            self._group = None

    def pss(self) -> float:
        return self._group.pss() if self._group is not None else 0.0

    def cpu(self) -> float:
        return self._group.cpu() if self._group is not None else 0.0

    def settled(self) -> bool:
        return True


class Dovecot(Peer):
    """One Dovecot; the format is the account's."""

    name = "dovecot"
    formats = ("maildir", "sdbox", "mdbox")

    def start(self, *, fresh: bool) -> None:
        if fresh:
            self._configure()
        self._run([DOVECOT, "-F", "-c", str(self.home / "dovecot.conf")])

    def _configure(self) -> None:
        home = self.home
        shutil.rmtree(home, ignore_errors=True)
        users = [(name, kind) for kind in self.formats for name in (kind, f"{kind}-idle")]
        users += [(f"l{n}", "maildir") for n in range(self._logins)]
        lines = (
            user_line(
                MAIL_USER,
                f"{name}@{DOMAIN}",
                f"{{ARGON2ID}}{HASH}",
                home / "mail" / name,
                f"userdb_mail={kind}:{home}/mail/{name}/{kind}",
            )
            for name, kind in users
        )
        settings = f"""\
protocols = imap lmtp
ssl = yes
ssl_cert = <{self._certificates}/server.crt
ssl_key = <{self._certificates}/server.key
auth_cache_size = 10M
auth_cache_ttl = 1 mins
mail_max_userip_connections = 5000
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  client_limit = 4000
  inet_listener imap {{
    port = {self.imaps + 1}
  }}
  inet_listener imaps {{
    port = {self.imaps}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 4096
}}
{ROOM_FOR_HASHES}{lmtp_listener(self.lmtp)}"""
        configure_dovecot(home, MAIL_USER, settings, users="".join(lines))


class Cyrus(Peer):
    """Cyrus as Debian builds it, with a configuration of its own."""

    name = "cyrus"

    def start(self, *, fresh: bool) -> None:
        if fresh:
            self._configure()
        argv = [str(CYRUS / "master"), "-C", str(self.home / "imapd.conf"), "-M", str(self.home / "cyrus.conf")]
        libraries = sorted({str(path.parent) for path in CYRUS_ROOT.rglob("*.so*")})
        self._run([*argv, "-p", str(self.home / "master.pid")], LD_LIBRARY_PATH=":".join(libraries))
        if fresh:
            self._accounts()

    def _configure(self) -> None:
        home = self.home
        shutil.rmtree(home, ignore_errors=True)
        folders = (
            "config config/socket config/proc config/lock config/db config/log config/msg config/quota config/user mail"
        )
        for folder in ("", *folders.split()):
            (home / folder).mkdir(parents=True, exist_ok=True)
            shutil.chown(home / folder, MAIL_USER, MAIL_USER)
        for name in ("server.crt", "server.key"):
            shutil.copy(self._certificates / name, home / name)
            shutil.chown(home / name, MAIL_USER, MAIL_USER)
        (home / "imapd.conf").write_text(f"""\
configdirectory: {home}/config
proc_path: {home}/config/proc
mboxname_lockpath: {home}/config/lock
defaultpartition: default
partition-default: {home}/mail
admins: cyrus
cyrus_user: {MAIL_USER}
altnamespace: yes
unixhierarchysep: yes
virtdomains: userid
defaultdomain: {DOMAIN}
hashimapspool: yes
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_mech_list: PLAIN
tls_server_cert: {home}/server.crt
tls_server_key: {home}/server.key
lmtpsocket: {home}/config/socket/lmtp
idlesocket: {home}/config/socket/idle
notifysocket: {home}/config/socket/notify
maxlogins_per_host: 0
maxlogins_per_user: 0
duplicatesuppression: no
syslog_prefix: cyrus-bench
""")
        (home / "cyrus.conf").write_text(f"""\
START {{
  recover cmd="{CYRUS}/ctl_cyrusdb -C {home}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{CYRUS}/imapd -C {home}/imapd.conf -N -U 250" listen="127.0.0.1:{self.imaps + 1}" prefork=0 maxchild=4000
  imaps cmd="{CYRUS}/imapd -C {home}/imapd.conf -s -N -U 250" listen="127.0.0.1:{self.imaps}" prefork=2 maxchild=4000
  lmtp cmd="{CYRUS}/lmtpd -C {home}/imapd.conf -a" listen="127.0.0.1:{self.lmtp}" prefork=1
}}
DAEMON {{
  idled cmd="{CYRUS}/idled -C {home}/imapd.conf"
}}
""")

    def _accounts(self) -> None:
        wire = Wire(self.imaps + 1, None).login("cyrus", SECRET)
        for name in ("cy", "cy-idle"):
            wire.do(f'CREATE "user/{name}@{DOMAIN}"')
        wire.close()


def cyrus_missing() -> str:
    """Why Cyrus cannot be measured here, or nothing."""
    return "" if (CYRUS / "imapd").exists() else f"there is no {CYRUS}/imapd, see imap_servers.py"


def drop_from_page_cache(folder: Path) -> None:
    """What lies under `folder` must be read from the disk again; nothing else on the machine is disturbed."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            number = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(number)


def wait_settled(server: ImapServer, seconds: float = 900) -> None:
    """Until the server has nothing left to do in the background. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not server.settled():
        if time.monotonic() > end:
            raise TimeoutError(f"{server.name} is still busy after {seconds:.0f} s")
        time.sleep(0.5)
