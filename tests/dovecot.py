"""Debian's Dovecot for tests: in a folder of its own, on loopback, IMAP with and without TLS, one master user."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from peer_settings import DOVECOT, configure_dovecot, user_line
from peers import end_program, let_pass, wait_port
from running import free_ports

LIBRARY = Path("/usr/lib/dovecot")
MAIL_USER = "nobody"
PASSWORD = "secret of the old server"


def imap_programs(folder: Path) -> Path:
    """Where `imap` and `imap-login` are: on this machine, or from Debian's package unpacked below `folder`, since it
    cannot be installed beside Cyrus. Raises CalledProcessError when it cannot be fetched.
    """
    if (LIBRARY / "imap").exists():
        return LIBRARY
    root = folder / "dovecot-root"
    if not root.exists():
        packages = folder / "dovecot-packages"
        packages.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", "dovecot-imapd"], cwd=packages, check=True, capture_output=True)
        for package in packages.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
    let_pass(root / "usr/lib/dovecot")
    return root / "usr/lib/dovecot"


class Dovecot:
    """`ada@old.test` with PASSWORD, and the master user `master` with "of all". Needs root: it drops rights itself."""

    def __init__(self, programs: Path, certificate: Path, key: Path, *, separator: str = "/", prefix: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.imap, self.imaps = (base := free_ports()), base + 1
        self.process: subprocess.Popen[bytes] | None = None
        self._programs = programs
        let_pass(self.folder)
        (self.folder / "masters").write_text("master:{PLAIN}of all\n")
        shutil.copy(certificate, self.folder / "cert.pem")
        shutil.copy(key, self.folder / "key.pem")
        ada = user_line(MAIL_USER, "ada@old.test", f"{{PLAIN}}{PASSWORD}", self.folder / "mail" / "ada")
        self._settings_file = configure_dovecot(self.folder, MAIL_USER, self._settings(separator, prefix), users=ada)

    def _settings(self, separator: str, prefix: str) -> str:
        home = self.folder
        boxes = "".join(
            f'  mailbox "{name}" {{\n    special_use = \\{use}\n    auto = subscribe\n  }}\n'
            for name, use in (("Sent Messages", "Sent"), ("Deleted", "Trash"))
        )
        names = ("imap", "imap-login", "imap-hibernate", "imap-urlauth", "imap-urlauth-login", "imap-urlauth-worker")
        programs = "".join(f"service {name} {{\n  executable = {self._programs}/{name}\n}}\n" for name in names)
        return f"""\
protocols = imap
ssl = yes
ssl_cert = <{home}/cert.pem
ssl_key = <{home}/key.pem
auth_failure_delay = 0
mail_fsync = never
auth_mechanisms = plain login
auth_master_user_separator = *
mail_location = maildir:{home}/mail/%n/Maildir
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
{boxes}}}
passdb {{
  driver = passwd-file
  args = {home}/masters
  master = yes
}}
{programs}service imap-login {{
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = {self.imaps}
    ssl = yes
  }}
}}
service stats {{
  chroot =
}}
"""

    @property
    def maildir(self) -> Path:
        return self.folder / "mail" / "ada" / "Maildir"

    def start(self) -> Dovecot:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [DOVECOT, "-F", "-c", str(self._settings_file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_port("127.0.0.1", self.imap)
        except TimeoutError as error:
            self.stop()
            raise OSError(f"Dovecot did not start: {self.log()}") from error
        return self

    def log(self) -> str:
        names = ("output", "dovecot.log")
        return "\n".join((self.folder / name).read_text()[-3000:] for name in names if (self.folder / name).exists())

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            end_program(process)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
