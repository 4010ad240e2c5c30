"""Dovecot as it keeps idle sessions with the least memory: hibernation, TLS in few login processes, sdbox.

A session that has been in IDLE for two seconds leaves its process and waits in `imap-hibernate`; mail or a command
brings it back into an `imap` process. Passwords are not checked (its passdb takes any), so that logins cost no hash.

Each session needs an inotify instance, of which a user of Linux has 128 unless the administrator says otherwise;
without one it neither hibernates nor hears of mail before 30 seconds. So that setting is raised while Dovecot runs.
"""

from __future__ import annotations

import os
import pwd
import shutil
import ssl
import subprocess
from pathlib import Path

from cgroup import Cgroup
from pillarbox.cli.try_certificates import ensure_certificates
from servers import DOVECOT, MAIL_USER, WORK, Server, configure_dovecot, lmtp_listener, wait_port

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


class HibernatingDovecot(Server):
    """`port` takes LMTP."""

    name = "dovecot with hibernation"

    def __init__(self, imaps: int = 14590, lmtp: int = 14592) -> None:
        self.imaps, self.port, self.home = imaps, lmtp, WORK / "idle-dovecot"
        self.groups = [Cgroup("idle-dovecot")]
        self._instances = INSTANCES.read_text()

    def stop(self) -> None:
        super().stop()
        INSTANCES.write_text(self._instances)

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.home / "ca.crt"))

    def start(self) -> None:
        INSTANCES.write_text("30000")
        home, owner = self.home, pwd.getpwnam(MAIL_USER)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        ensure_certificates(home)
        settings = f"""\
protocols = imap lmtp
ssl = yes
ssl_cert = <{home}/server.crt
ssl_key = <{home}/server.key
mail_location = sdbox:~/sdbox
mail_max_userip_connections = 20000
imap_hibernate_timeout = 2s
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={owner.pw_uid} gid={owner.pw_gid} home={home}/mail/%n
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  client_limit = 12000
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {self.imaps}
    ssl = yes
  }}
}}
service anvil {{
  client_limit = 30000
}}
service auth {{
  client_limit = 30000
}}
service stats {{
  client_limit = 30000
}}
service imap {{
  process_limit = 12000
  unix_listener imap-master {{
    user = dovecot
  }}
}}
service imap-hibernate {{
  process_limit = 8
  client_limit = 2500
  unix_listener imap-hibernate {{
    mode = 0600
    user = {MAIL_USER}
  }}
}}
{lmtp_listener(self.port)}"""
        configuration = configure_dovecot(home, MAIL_USER, settings)
        log = os.open(WORK / "idle-dovecot.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        argv = [DOVECOT, "-F", "-c", str(configuration)]
        self.groups[0].start(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(log)
        wait_port(self.imaps)
        wait_port(self.port)
