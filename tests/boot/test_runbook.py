"""The runbook's first deployment, played on a Debian with a real systemd that boots for this test.

    PILLARBOX_ROOTFS=/var/tmp/pillarbox-rootfs pytest tests/boot        (or `make boot`)

Needs root, debootstrap and systemd-container. The root folder is made when it is not there (a few minutes, once); the
unit is the runbook's to the letter: two writable folders, LimitNPROC=512, no port below 1024.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ROOTFS = os.environ.get("PILLARBOX_ROOTFS")
PACKAGES = "git,python3-venv,ca-certificates,systemd,systemd-sysv,dbus,sqlite3,curl,jq,openssl,procps,sudo"
pytestmark = [
    pytest.mark.skipif(not ROOTFS, reason="PILLARBOX_ROOTFS is not set: no Debian to boot"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot a container"),
]

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
"""
INSTALL = """\
set -e
useradd -r -s /bin/false smtp
mkdir -p /opt/smtp-server /var/lib/smtp-server /var/log/smtp-server /etc/smtp-server
chown -R smtp:smtp /var/lib/smtp-server /var/log/smtp-server /etc/smtp-server
cp /opt/pillarbox/.venv/bin/smtp-server /opt/pillarbox/.venv/bin/user-cli /opt/smtp-server/
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
        self._pid = _until(lambda: children.read_text().split()[:1], 20)[0]
        _until(lambda: self.try_run("systemctl is-system-running")[1].strip() in ("running", "degraded"), 60)

    def try_run(self, command: str) -> tuple[int, str]:
        argv = ["nsenter", "-t", self._pid, "-a", "/bin/bash", "-c", f"cd /; {command}"]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=env, check=False)
        return done.returncode, done.stdout + done.stderr

    def run(self, command: str) -> str:
        code, text = self.try_run(command)
        assert code == 0, f"{command!r} ended with {code}: {text}"
        return text

    def off(self) -> None:
        self.try_run("systemctl poweroff")
        self._nspawn.wait(60)


def _until(ask, seconds: float):  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.2)
    raise TimeoutError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    base = Path(ROOTFS or "")
    if not (base / "etc/debian_version").exists():
        argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    root = base.parent / f"{base.name}-run"
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", str(base), str(root)], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    subprocess.run(["cp", "-a", "/etc/ssl/certs/.", str(root / "etc/ssl/certs/")], check=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root / "opt/pillarbox")], check=True)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    subprocess.run(["chroot", str(root), "/opt/pillarbox/pillarbox", "--help"], check=True, env=env)
    (root / "etc/smtp-server").mkdir()
    (root / "etc/smtp-server/config.env").write_text(CONFIG)
    (root / "etc/systemd/system/smtp-server.service").write_text(UNIT)
    booted = Machine(root)
    try:
        booted.run("ip link set lo up 2>/dev/null || true")
        booted.run(INSTALL)
        yield booted
    finally:
        booted.off()
        shutil.rmtree(root, ignore_errors=True)


def test_the_version_is_on_the_first_line(machine):
    assert machine.run("/opt/smtp-server/smtp-server --version").startswith("SMTP Server v")


def test_the_production_profile_alone_validates(machine):
    machine.run("mv /etc/smtp-server/config.env /root/")
    try:
        machine.run("cd /opt/smtp-server && sudo -u smtp SMTP_PROFILE=production ./smtp-server --validate-only")
    finally:
        machine.run("mv /root/config.env /etc/smtp-server/")


def test_an_account_is_created_though_sudo_drops_the_environment(machine):
    command = "create admin@example.com --password $(openssl rand -base64 32) --email admin@example.com"
    machine.run(f"export SMTP_DB_PATH=/var/lib/smtp-server/smtp.db; sudo -u smtp /opt/smtp-server/user-cli {command}")
    query = 'sqlite3 /var/lib/smtp-server/smtp.db "SELECT username, enabled FROM users;"'
    assert machine.run(query).strip() == "admin@example.com|1"
    assert machine.run("stat -c %a%U /var/lib/smtp-server/smtp.db").strip() == "600smtp"


def test_the_service_starts_and_is_healthy(machine):
    machine.run("systemctl daemon-reload && systemctl start smtp-server && systemctl enable smtp-server")
    _until(lambda: machine.try_run("curl -sf localhost:8081/health")[0] == 0, 30)
    assert machine.run("curl -s http://localhost:8081/health | jq -r .status").strip() == "healthy"
    assert "smtp_max_connections 2000" in machine.run("curl -s http://localhost:8081/metrics")
    assert machine.run("curl -s http://localhost:8080/api/queue | jq .queue_size").strip() == "0"
    log = machine.run("journalctl -u smtp-server -o cat --no-pager")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [list(line)[:5] for line in lines] == [["timestamp", "level", "service", "hostname", "message"]] * len(lines)
    messages = [line["message"] for line in lines]
    assert "=== SMTP Server Starting ===" in messages
    assert "Configuration loaded and validated successfully:" in messages
    assert "SMTP Server listening on 0.0.0.0:2525" in messages


def test_a_message_is_received_and_the_log_says_so(machine):
    dialogue = r"EHLO c.test\r\nMAIL FROM:<t@elsewhere.test>\r\nRCPT TO:<admin@example.com>\r\nDATA\r\n"
    send = f"exec 3<>/dev/tcp/127.0.0.1/2525; read -r g <&3; echo $g; printf '{dialogue}' >&3; sleep 1; "
    text = machine.run(send + r"printf 'Subject: hi\r\n\r\nhello\r\n.\r\nQUIT\r\n' >&3; timeout 5 cat <&3")
    assert text.startswith("220 mail.example.com ESMTP Service Ready")
    assert "OK: Message accepted for delivery" in text
    assert "Message received: FROM=t@elsewhere.test, recipients=1" in machine.run("journalctl -u smtp-server -o cat")


def test_the_tree_stays_within_its_limits_and_writes_nowhere_else(machine):
    tasks = int(machine.run("ps -L -u smtp --no-headers | wc -l"))
    assert 3 <= tasks <= 100  # supervisor, two workers and their threads: two generations fit into LimitNPROC=512
    assert machine.run("find /opt/smtp-server -newer /etc/smtp-server/config.env -type f | wc -l").strip() == "2"


def test_a_killed_worker_is_replaced_and_reload_keeps_the_main_process(machine):
    main = machine.run("systemctl show -p MainPID --value smtp-server").strip()
    worker = machine.run(f"pgrep -P {main} | head -1").strip()
    machine.run(f"kill -9 {worker}")
    _until(lambda: worker not in machine.run(f"pgrep -P {main}").split(), 10)
    machine.run(f"kill -HUP {main}")
    _until(lambda: "Hot Reload Complete" in machine.run("journalctl -u smtp-server -o cat --no-pager"), 20)
    assert machine.run("systemctl show -p MainPID --value smtp-server").strip() == main


def test_backup_live_stop_restore_start(machine):
    db = "/var/lib/smtp-server/smtp.db"
    machine.run(f"""sqlite3 {db} ".timeout 30000" ".backup /root/backup.db" """)
    assert machine.run("sqlite3 /root/backup.db 'PRAGMA integrity_check;'").strip() == "ok"
    machine.run("systemctl stop smtp-server")
    assert machine.run("ls /var/lib/smtp-server | grep -E 'wal|shm' || true").strip() == ""
    machine.run(f"cp /root/backup.db {db} && chown smtp:smtp {db} && systemctl start smtp-server")
    _until(lambda: "healthy" in machine.try_run("curl -s localhost:8081/health | jq -r .status")[1], 30)
    assert int(machine.run(f"sqlite3 {db} 'SELECT count(*) FROM schema_migrations;'")) >= 1
