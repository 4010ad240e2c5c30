"""The runbook's first deployment, played on a Debian with a real systemd that boots for this test; see machine.py."""

from __future__ import annotations

import json

from boot.machine import until


def test_the_version_is_on_the_first_line(machine):
    assert machine.run("/opt/smtp-server/smtp-server --version").startswith("SMTP Server v")


def test_the_production_profile_alone_validates(machine):
    machine.run("mv /etc/smtp-server/config.env /root/")
    try:
        said = machine.run("cd /opt/smtp-server && sudo -u smtp SMTP_PROFILE=production ./smtp-server --validate-only")
        assert "All configuration values are acceptable." in said
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
    machine.until_healthy()
    assert machine.run("curl -s http://localhost:8081/health | jq -r .status").strip() == "healthy"
    assert "smtp_max_connections 2000" in machine.run("curl -s http://localhost:8081/metrics")
    assert machine.run("curl -s http://localhost:8080/api/queue | jq .queue_size").strip() == "0"
    log = machine.log()
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


def test_the_test_messages_by_sendmail(machine):
    machine.run('echo "Test message" | sendmail -f test@example.com admin@example.com')
    machine.run('echo "Test message" | sendmail admin@example.com')
    assert machine.run("journalctl -u smtp-server -o cat | grep -c 'Message received'").strip() == "3"
    machine.run("systemctl stop smtp-server")
    machine.run('echo "Test message" | sendmail -f test@example.com admin@example.com')
    assert "maildrop queue, sender UID 0" in machine.run("mailq")
    machine.run("systemctl start smtp-server")
    machine.until_healthy()
    until(lambda: machine.run("mailq").strip() == "Mail queue is empty", 20)
    assert machine.run("ls -A /var/lib/smtp-server/maildrop").strip() == ""


def test_another_user_may_send_when_the_folder_lets_him_through(machine):
    as_nobody = "echo 'Subject: x' | runuser -u nobody -- sendmail admin@example.com"
    machine.run("chmod 750 /var/lib/smtp-server")
    assert machine.try_run(as_nobody)[0] == 75
    machine.run("chmod 711 /var/lib/smtp-server")
    machine.run(as_nobody)
    assert "uid 65534" in machine.run("journalctl -u smtp-server -o cat | grep 'Message received' | tail -1")


def test_the_tree_stays_within_its_limits_and_writes_nowhere_else(machine):
    tasks = int(machine.run("ps -L -u smtp --no-headers | wc -l"))
    assert 3 <= tasks <= 100  # supervisor, two workers and their threads: two generations fit into LimitNPROC=512
    assert machine.run("find /opt/smtp-server -newer /etc/smtp-server/config.env -type f | wc -l").strip() == "2"


def test_a_killed_worker_is_replaced_and_reload_keeps_the_main_process(machine):
    main = machine.run("systemctl show -p MainPID --value smtp-server").strip()
    worker = machine.run(f"pgrep -P {main} | head -1").strip()
    machine.run(f"kill -9 {worker}")
    until(lambda: worker not in machine.run(f"pgrep -P {main}").split(), 10)
    assert "Hot Reload Complete" in machine.reload()
    assert machine.run("systemctl show -p MainPID --value smtp-server").strip() == main


def test_backup_live_stop_restore_start(machine):
    db = "/var/lib/smtp-server/smtp.db"
    machine.run(f"""sqlite3 {db} ".timeout 30000" ".backup /root/backup.db" """)
    assert machine.run("sqlite3 /root/backup.db 'PRAGMA integrity_check;'").strip() == "ok"
    machine.run("systemctl stop smtp-server")
    assert machine.run("ls /var/lib/smtp-server | grep -E 'wal|shm' || true").strip() == ""
    machine.run(f"cp /root/backup.db {db} && chown smtp:smtp {db} && systemctl start smtp-server")
    machine.until_healthy()
    assert int(machine.run(f"sqlite3 {db} 'SELECT count(*) FROM schema_migrations;'")) >= 1
