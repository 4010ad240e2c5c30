"""Other people's mail servers for tests: Postfix, Exim and Postfix's `smtp-sink`, each in a folder of its own.

They are started inside the caller's network namespace, as root, and touch nothing of the machine's configuration. Exim
cannot be installed beside Postfix: Debian's packages of it are unpacked into the test's folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from peer_settings import configure_postfix
from self_signed import self_signed

EXIM_ROOT = "PILLARBOX_TEST_EXIM"  # the variable that says where its packages are unpacked
_EXIM_PACKAGES = ("exim4-daemon-light", "exim4-base")


def wait_port(address: str, port: int, seconds: float = 30) -> None:
    """Until somebody takes connections there. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on {address} port {port}")


def let_pass(folder: Path) -> None:
    """Servers that drop their rights pass through this folder and those above it."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)


def end_program(process: subprocess.Popen[bytes]) -> None:
    """With SIGTERM, or after ten seconds by force."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


class Peer:
    """A program that runs until `stop`; its children end with it. `mail` gives what has arrived."""

    def __init__(self, folder: Path, address: str, port: int = 25) -> None:
        self.folder, self.address, self.port = folder, address, port
        self.process: subprocess.Popen[bytes] | None = None

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = self.argv()
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            wait_port(self.address, self.port)
        except TimeoutError as error:
            self.stop()
            raise OSError(f"{argv[0]} did not start: {(self.folder / 'output').read_text()[-2000:]}") from error

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        end_program(process)
        end = time.monotonic() + 10
        while time.monotonic() < end:  # until its children have let go of the port
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.address, self.port))
                except OSError:
                    time.sleep(0.05)
                else:
                    return

    def mail(self, user: str) -> list[bytes]:
        """Whole messages in a user's Maildir, the oldest first."""
        found = [path for path in (self.folder / "mail" / user / "new").glob("*") if path.is_file()]
        return [path.read_bytes() for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]


class Postfix(Peer):
    """Takes mail for `domain` into Maildirs below `mail`, and sends what its own network gives it to the MX."""

    def __init__(self, folder: Path, address: str, domain: str, *, extra: str = "") -> None:
        super().__init__(folder, address)
        self.domain, self._extra = domain, extra

    def argv(self) -> list[str]:
        self._configure()
        return ["/usr/lib/postfix/sbin/master", "-c", str(self.folder / "etc"), "-d"]

    def send(self, sender: str, recipient: str, message: str) -> None:
        """Put a message into its queue, as a user of that machine would."""
        argv = ["/usr/sbin/sendmail", "-C", str(self.folder / "etc"), "-i", "-f", sender, recipient]
        subprocess.run(argv, input=message, text=True, check=True, timeout=30)

    def queue(self) -> str:
        argv = ["/usr/sbin/postqueue", "-c", str(self.folder / "etc"), "-p"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout

    def _configure(self) -> None:
        folder = self.folder
        certificate, key = self_signed(folder, "mx.example")
        settings = f"""\
myhostname = mx.{self.domain}
mynetworks = 127.0.0.99/32
inet_interfaces = {self.address}
inet_protocols = all
virtual_mailbox_domains = {self.domain}
virtual_mailbox_maps = inline:{{ {{ u@{self.domain} = u/ }}, {{ v@{self.domain} = v/ }} }}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtp_tls_security_level = may
smtp_tls_loglevel = 1
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
{self._extra}
"""
        configure_postfix(folder, "nobody", settings)


class Exim(Peer):
    """Takes mail for `domain` into Maildirs below `mail`; sends nothing."""

    def __init__(self, folder: Path, address: str, domain: str, *, acl: str = "accept") -> None:
        super().__init__(folder, address)
        self.domain, self._acl = domain, acl

    def argv(self) -> list[str]:
        root = Path(os.environ[EXIM_ROOT])
        self._configure()
        # Exim looks its account up by the name it was built with: it sees a passwd file that has it.
        passwd, group = self.folder / "passwd", self.folder / "group"
        nobody = pwd.getpwnam("nobody")
        account = f"Debian-exim:x:{nobody.pw_uid}:{nobody.pw_gid}::/nonexistent:/usr/sbin/nologin\n"
        for file, line in ((passwd, account), (group, f"Debian-exim:x:{nobody.pw_gid}:\n")):
            known = Path("/etc", file.name).read_text()
            file.write_text(known if "Debian-exim:" in known else known + line)
        script = f'mount --bind {passwd} /etc/passwd; mount --bind {group} /etc/group; exec "$@"'
        exim = [str(root / "usr/sbin/exim4"), "-C", str(self.folder / "exim.conf"), "-bdf"]
        return ["unshare", "-m", "sh", "-c", script, "sh", *exim]

    def _configure(self) -> None:
        folder = self.folder
        nobody = pwd.getpwnam("nobody")
        for name in ("mail", "spool", "log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            os.chown(folder / name, nobody.pw_uid, nobody.pw_gid)
        let_pass(folder)
        (folder / "exim.conf").write_text(f"""\
exim_path = {os.environ[EXIM_ROOT]}/usr/sbin/exim4
primary_hostname = mx.{self.domain}
exim_user = nobody
exim_group = nogroup
never_users =
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
local_interfaces = {self.address}
daemon_smtp_ports = {self.port}
tls_advertise_hosts =
chunking_advertise_hosts = *
dsn_advertise_hosts = *
acl_smtp_rcpt = check_rcpt
begin acl
check_rcpt:
  {self._acl}
begin routers
all:
  driver = accept
  domains = {self.domain}
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = {folder}/mail/u
  maildir_format
  create_directory
  user = nobody
""")


class Sink(Peer):
    """`smtp-sink` with its options for trouble; it writes every message into a file of its own below `taken`."""

    def __init__(self, folder: Path, address: str, *options: str, port: int = 25) -> None:
        super().__init__(folder, address, port)
        self._options = options

    def argv(self) -> list[str]:
        taken = self.folder / "taken"
        taken.mkdir(parents=True, exist_ok=True)
        shutil.chown(taken, "postfix")
        let_pass(self.folder)
        where = f"{self.address}:{self.port}"
        return ["smtp-sink", "-u", "postfix", "-d", f"{taken}/%M.", *self._options, where, "1024"]

    def taken(self) -> list[bytes]:
        """What it has received, envelope in front, one a transaction."""
        return [path.read_bytes() for path in sorted((self.folder / "taken").glob("*")) if path.stat().st_size]


def unpack_exim(folder: Path) -> Path:
    """Debian's Exim below `folder`, to be named by the variable EXIM_ROOT. It is fetched before a namespace without
    a way out is entered. Raises CalledProcessError when that cannot be."""
    root = folder / "exim-root"
    if not root.exists():
        packages = folder / "exim-packages"
        packages.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", *_EXIM_PACKAGES], cwd=packages, check=True, capture_output=True)
        for package in packages.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
    let_pass(root)
    return root
