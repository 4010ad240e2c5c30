"""A Debian with a real systemd that boots for these tests, with Pillarbox installed as the runbook says.

    PILLARBOX_ROOTFS=/var/tmp/pillarbox-rootfs pytest tests/boot        (or `make boot`)

Needs root, debootstrap and systemd-container. The root folder is made when it is not there (a few minutes, once); the
unit is the runbook's to the letter: two writable folders, LimitNPROC=512, no port below 1024.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ROOTFS = os.environ.get("PILLARBOX_ROOTFS")
PACKAGES = "git,python3-venv,ca-certificates,systemd,systemd-sysv,dbus,sqlite3,curl,jq,openssl,procps,sudo"
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}

UNIT = """\
[Unit]
Description=SMTP Server
After=network.target

[Service]
Type=simple
User=smtp
Group=smtp
WorkingDirectory=/opt/smtp-server
EnvironmentFile=/etc/smtp-server/config.env
ExecStart=/opt/smtp-server/smtp-server
Restart=always
RestartSec=5
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=strict
ProtectHome=true
ReadWritePaths=/var/lib/smtp-server /var/log/smtp-server
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
LimitNOFILE=65536
LimitNPROC=512

[Install]
WantedBy=multi-user.target
"""
CONFIG = """\
SMTP_PROFILE=production
SMTP_HOST=0.0.0.0
SMTP_PORT=2525
SMTP_HOSTNAME=mail.example.com
SMTP_MAX_CONNECTIONS=2000
SMTP_TIMEOUT_SECONDS=300
SMTP_MAX_MESSAGE_SIZE=26214400
SMTP_MAX_RECIPIENTS=100
SMTP_ENABLE_AUTH=true
SMTP_DB_PATH=/var/lib/smtp-server/smtp.db
SMTP_ENABLE_TLS=true
SMTP_ENABLE_JSON_LOGGING=true
SMTP_IMAPS_PORT=2993
"""
HOSTS = f"127.0.0.1 localhost mail.example.com {socket.gethostname()}\n"
INSTALL = """\
set -e
useradd -r -s /bin/false smtp
mkdir -p /opt/smtp-server /var/lib/smtp-server /var/log/smtp-server /etc/smtp-server
chown -R smtp:smtp /var/lib/smtp-server /var/log/smtp-server /etc/smtp-server
cp /opt/pillarbox/.venv/bin/smtp-server /opt/pillarbox/.venv/bin/user-cli /opt/smtp-server/
install -m 755 /opt/pillarbox/.venv/bin/sendmail /usr/sbin/sendmail
install -m 755 /opt/pillarbox/.venv/bin/mailq /usr/bin/mailq
chown root:smtp /opt/smtp-server/*
chmod 750 /opt/smtp-server/*
chown root:smtp /etc/smtp-server/config.env
chmod 640 /etc/smtp-server/config.env
"""


class Machine:
    """A booted container. `run` gives what a shell command printed; it must succeed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        argv = ["systemd-nspawn", "-D", str(root), "-b", "--console=passive", "--register=no", "--keep-unit"]
        self._nspawn = subprocess.Popen(
            [*argv, "--private-network"],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        self._pid = until(lambda: children.read_text().split()[:1], 20)[0]
        until(lambda: self.try_run("systemctl is-system-running")[1].strip() in ("running", "degraded"), 60)

    def try_run(self, command: str) -> tuple[int, str]:
        argv = ["nsenter", "-t", self._pid, "-a", "/bin/bash", "-c", f"cd /; {command}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=PLAIN, check=False)
        return done.returncode, done.stdout + done.stderr

    def run(self, command: str) -> str:
        code, text = self.try_run(command)
        assert code == 0, f"{command!r} ended with {code}: {text}"
        return text

    def python(self, program: str) -> str:
        """What a program printed that runs in there with Debian's Python."""
        (self.root / "root/program.py").write_text(program)
        return self.run("python3 /root/program.py")

    def configure(self, **changes: str | None) -> None:
        """config.env as at first with some changes, SMTP_ left off; None takes a line away."""
        lines = dict(line.split("=", 1) for line in CONFIG.splitlines())
        for name, value in changes.items():
            if value is None:
                lines.pop(f"SMTP_{name}", None)
            else:
                lines[f"SMTP_{name}"] = value
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (self.root / "etc/smtp-server/config.env").write_text(text)

    def restart(self) -> None:
        self.run("systemctl restart smtp-server")
        self.until_healthy()

    def until_healthy(self) -> None:
        until(lambda: self.try_run("curl -sf localhost:8081/health")[0] == 0, 30)

    def log(self) -> str:
        return self.run("journalctl -u smtp-server -o cat --no-pager")

    def reload(self) -> str:
        """SIGHUP; what the log says of it."""
        before = len(self.log())
        self.run("kill -HUP $(systemctl show -p MainPID --value smtp-server)")
        until(lambda: "Hot Reload Complete" in self.log()[before:] or "Hot Reload Failed" in self.log()[before:], 20)
        return self.log()[before:]

    def off(self) -> None:
        self.try_run("systemctl poweroff")
        self._nspawn.wait(60)


def until(ask, seconds: float):  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.2)
    raise TimeoutError(f"not within {seconds} s")
