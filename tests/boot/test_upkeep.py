"""What an operator does to a server that runs, on the booted Debian: mistakes, reload, maintenance, stop, upgrade."""

from __future__ import annotations

import json
import time

import pytest

from boot.machine import UNIT, until

DB = "/var/lib/smtp-server/smtp.db"
CERTIFICATE = """\
cd /etc/smtp-server && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 40 -keyout key.pem \
-out cert.pem -subj /CN={name} -addext subjectAltName=DNS:{name} 2>/dev/null
chown root:smtp key.pem cert.pem; chmod 640 key.pem
"""
CLIENT = """\
import json, smtplib, socket, ssl, subprocess, sys, time

def say(file, *lines):
    for line in lines:
        file.write(line.encode() + b"\\r\\n")
        while True:
            answer = file.readline().decode().rstrip()
            if answer[3:4] != "-":
                break
    return answer

def connect(*lines):
    file = socket.create_connection(("127.0.0.1", 2525), timeout=20).makefile("rwb", 0)
    greeting = file.readline().decode().rstrip()
    return (file, say(file, "EHLO client.test", *lines)) if greeting[:3] == "220" else (file, greeting)

TRANSACTION = ("MAIL FROM:<t@elsewhere.test>", "RCPT TO:<admin@example.com>")
"""


@pytest.fixture(autouse=True)
def service(machine):
    """The service as the runbook has it, before and after each test."""
    machine.run("id smtp >/dev/null")
    create = "create admin@example.com --password correct-horse --email admin@example.com"
    machine.try_run(f"sudo -u smtp /opt/smtp-server/user-cli {create}")
    machine.configure()
    machine.restart()
    yield
    machine.run("rm -f /var/lib/smtp-server/maintenance")
    (machine.root / "etc/systemd/system/smtp-server.service").write_text(UNIT)
    machine.run("systemctl daemon-reload")


def test_every_mistake_in_config_env_is_in_the_journal_once_with_its_line(machine):
    machine.configure(
        PORT="99999", HOSTNAME="mail example.com", MAX_RECIPIENTS="0", ENABLE_AUTH="maybe", TLS_CERT="/nowhere.pem"
    )
    before = len(machine.log())
    machine.try_run("systemctl restart smtp-server")
    until(lambda: "Configuration validation failed" in machine.log()[before:], 20)
    wrong = [line for line in machine.log()[before:].splitlines() if line.startswith("Configuration Error: ")]
    names = ["PORT", "HOSTNAME", "MAX_RECIPIENTS", "ENABLE_AUTH", "TLS_CERT", "TLS_KEY"]
    assert sorted(line.split()[2] for line in wrong) == sorted(f"SMTP_{name}" for name in names)
    assert all("(/etc/smtp-server/config.env line " in line for line in wrong if "TLS_KEY must" not in line)
    assert all(". Fix: " in line for line in wrong)
    code, said = machine.try_run("sudo -u smtp SMTP_PROFILE=production /opt/smtp-server/smtp-server --validate-only")
    assert code == 1
    assert [line for line in said.splitlines() if "Error: " in line] == wrong
    assert machine.try_run("/opt/smtp-server/smtp-server --port")[0] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"DB_PATH": "/var/lib/nowhere/smtp.db"}, "there is no folder /var/lib/nowhere. Fix: "),
        ({"DB_PATH": "/opt/smtp-server/smtp.db"}, "/opt/smtp-server cannot be written. Fix: "),
        ({"PORT": "25"}, "cannot listen on 0.0.0.0:25: permission denied. Fix: "),
        ({"HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1:2525: cannot assign requested address. Fix: "),
    ],
)
def test_what_only_the_machine_can_refuse_names_the_setting_and_a_fix(machine, changes, said):
    machine.configure(**changes)
    before = len(machine.log())
    machine.try_run("systemctl restart smtp-server")
    until(lambda: said in machine.log()[before:], 20)
    lines = [json.loads(line) for line in machine.log()[before:].splitlines() if line.startswith("{")]
    (critical,) = [line["message"] for line in lines if line["level"] == "CRITICAL"][:1]
    assert f"SMTP_{next(iter(changes)).replace('HOST', 'PORT')}" in critical


def test_user_cli_in_every_spelling(machine):
    def cli(words: str) -> int:
        return machine.try_run(f"sudo -u smtp /opt/smtp-server/user-cli {words} </dev/null")[0]

    assert cli("create one correct-horse one@example.com") == 0
    assert cli("create two two@example.com correct-horse") == 0
    assert cli("create three --password correct-horse --email three@example.com") == 0
    assert cli("add four@example.com --admin --password correct-horse") == 0
    assert cli("create one correct-horse one@example.com") == 1
    assert (cli("verify one correct-horse"), cli("verify one wrong"), cli("verify nobody wrong")) == (0, 1, 1)
    assert (cli("change-password one other-horse"), cli("verify one other-horse")) == (0, 0)
    assert (cli("update-password one third-horse"), cli("reset one@example.com")) == (0, 0)
    assert (cli("disable one"), cli("enable one"), cli("info one"), cli("set-quota one 5"), cli("list")) == (0,) * 5
    assert [cli(f"{command} nobody") for command in ("delete", "enable", "disable", "info")] == [1] * 4
    assert [cli(f"delete {name}") for name in ("one", "two", "three", "four@example.com")] == [0] * 4
    assert (cli("create"), cli("bogus"), cli("create nobody-types-a-password@example.com")) == (2, 2, 2)
    assert machine.run("find /var/lib/smtp-server -type f -printf '%m%u\\n' | sort -u").strip() == "600smtp"


def test_commands_as_root_leave_nothing_the_service_cannot_open(machine):
    machine.run("systemctl stop smtp-server; mkdir /root/kept; mv /var/lib/smtp-server/smtp.db* /root/kept/")
    try:
        machine.run("/opt/smtp-server/user-cli create admin@example.com --password correct-horse")
        assert machine.run("stat -c %a%U /var/lib/smtp-server/smtp.db* | sort -u").strip() == "600smtp"
        machine.restart()
    finally:
        machine.run("systemctl stop smtp-server; rm -f /var/lib/smtp-server/smtp.db*")
        machine.run("mv /root/kept/* /var/lib/smtp-server/; rmdir /root/kept")


def test_a_reload_with_another_certificate_and_limits_while_connections_stay(machine):
    machine.run(CERTIFICATE.format(name="one.example.com"))
    tls = {"TLS_CERT": "/etc/smtp-server/cert.pem", "TLS_KEY": "/etc/smtp-server/key.pem"}
    machine.configure(**tls)
    machine.restart()
    main = machine.run("systemctl show -p MainPID --value smtp-server")
    machine.run(CERTIFICATE.format(name="two.example.com"))
    machine.configure(**tls, MAX_RECIPIENTS="1", MAX_MESSAGE_SIZE="2048", DB_PATH="/var/lib/smtp-server/other.db")
    program = """
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
secured = smtplib.SMTP("127.0.0.1", 2525); secured.starttls(context=context)
idle, _ = connect()
busy, _ = connect(*TRANSACTION, "DATA")
busy.write(b"Subject: half\\r\\n\\r\\n")
subprocess.run("kill -HUP $(systemctl show -p MainPID --value smtp-server)", shell=True, check=True)
for _ in range(100):
    time.sleep(0.1)
    fresh, last = connect(*TRANSACTION, "RCPT TO:<postmaster@example.com>")
    if last.startswith("452"):
        break
print(json.dumps([secured.noop()[0], say(idle, *TRANSACTION), say(busy, "and half", "."), last]))
"""
    program = program.replace('say(busy, "and half", ".")', '(busy.write(b"and half\\r\\n"), say(busy, "."))[1]')
    secured, idle, busy, last = json.loads(machine.python(CLIENT + program))
    assert (secured, idle[:3], busy.partition(", id ")[0], last[:9]) == (
        250,
        "250",
        "250 2.0.0 OK: Message accepted for delivery",
        "452 4.5.3",
    )
    log = machine.log()
    assert "Certificate change: two.example.com, valid until " in log
    assert "Config change: max_recipients 100 -> 1" in log
    assert (
        "Config change: db_path /var/lib/smtp-server/smtp.db -> /var/lib/smtp-server/other.db (requires restart)" in log
    )
    shown = "openssl s_client -connect localhost:{port} {how} </dev/null 2>/dev/null | openssl x509 -noout -subject"
    for port, how in ((2525, "-starttls smtp"), (2993, "")):
        assert "two.example.com" in machine.run(shown.format(port=port, how=how))
    machine.run("echo junk > /etc/smtp-server/cert.pem")
    assert "Hot Reload Failed, nothing was changed" in machine.reload()
    assert "two.example.com" in machine.run(shown.format(port=2993, how=""))
    assert machine.run("systemctl show -p MainPID --value smtp-server") == main


def test_a_reload_that_brings_new_workers_keeps_connections_too(machine):
    machine.configure(PORT="2526")
    program = """
idle, _ = connect()
busy, _ = connect(*TRANSACTION)
subprocess.run("kill -HUP $(systemctl show -p MainPID --value smtp-server)", shell=True, check=True)
for _ in range(200):
    time.sleep(0.1)
    try:
        socket.create_connection(("127.0.0.1", 2525)).close()
    except ConnectionRefusedError:
        break
print(json.dumps([say(idle, "NOOP"), say(busy, "DATA", "Subject: x\\r\\n\\r\\nbody\\r\\n.")]))
"""
    program = program.replace('say(busy, "DATA", "Subject', 'say(busy, "DATA") and say(busy, "Subject')
    idle, busy = json.loads(machine.python(CLIENT + program))
    assert (idle, busy.partition(", id ")[0]) == ("250 2.0.0 OK", "250 2.0.0 OK: Message accepted for delivery")


def test_maintenance_mode(machine):
    def greeting() -> str:
        return machine.python(CLIENT + "print(connect()[1])")

    machine.run("touch /var/lib/smtp-server/maintenance")
    until(lambda: greeting().startswith("421 4.3.2"), 5)
    assert machine.run("curl -s localhost:8081/health | jq -c '[.status,.maintenance]'").strip() == '["degraded",true]'
    machine.run("rm /var/lib/smtp-server/maintenance")
    until(lambda: greeting().startswith("250"), 5)
    machine.configure(MAINTENANCE="true")
    machine.reload()
    until(lambda: greeting().startswith("421 4.3.2"), 5)


def test_sqlite3_on_the_live_database(machine):
    columns = "from_address,to_address,message_data,created_at,updated_at,prefix"
    rows = ",".join(f"('a@b.c','d@e.f',x'',strftime('%s','now','-{days} days'),0,x'')" for days in (40, 31, 1))
    machine.run(f'sudo -u smtp sqlite3 {DB} "INSERT INTO message_queue({columns}) VALUES {rows};"')
    assert machine.run("curl -s http://localhost:8080/api/queue | jq .queue_size").strip() == "3"
    older = "created_at < strftime('%s', 'now', '-30 days')"
    machine.run(f'sudo -u smtp sqlite3 {DB} "DELETE FROM message_queue WHERE {older};"')
    assert machine.run("curl -s http://localhost:8080/api/queue | jq .queue_size").strip() == "1"
    machine.run(f'sudo -u smtp sqlite3 {DB} "DELETE FROM message_queue;"')
    for statement in ("VACUUM;", "ANALYZE;", "PRAGMA busy_timeout=10000;"):
        machine.run(f'sudo -u smtp sqlite3 {DB} "{statement}"')
    assert machine.run(f'sudo -u smtp sqlite3 {DB} "PRAGMA integrity_check;"').strip() == "ok"
    accepted = 'print(say(connect(*TRANSACTION, "DATA")[0], "Subject: x\\r\\n\\r\\nbody\\r\\n."))'
    assert machine.python(CLIENT + accepted).startswith("250 2.0.0")


def test_health_numbers_and_queue_have_the_contracts_shapes(machine):
    health = json.loads(machine.run("curl -s http://localhost:8081/health"))
    keys = "status version uptime_seconds active_connections max_connections memory_usage_mb checks dependencies"
    assert set(keys.split()) <= set(health)
    assert set(health["checks"]) == {"smtp_server", "connections_available", "database", "filesystem"}
    assert all({"name", "healthy", "response_time_ms"} <= set(entry) for entry in health["dependencies"])
    stats = json.loads(machine.run("curl -s http://localhost:8081/stats"))
    keys = "uptime_seconds total_connections active_connections messages_received messages_rejected auth_successes"
    keys += " auth_failures rate_limit_hits dnsbl_blocks greylist_blocks version"
    assert set(keys.split()) <= set(stats)
    metrics = machine.run("curl -s http://localhost:8081/metrics")
    for name in ["connections_active", "max_connections", "messages_received_total", "messages_rejected_total"]:
        assert f"\nsmtp_{name} " in metrics
    for name in ["auth_failures_total", "rate_limit_hits_total", "uptime_seconds", "connections_total"]:
        assert f"\nsmtp_{name} " in metrics
    queue = json.loads(machine.run("curl -s http://localhost:8080/api/queue"))
    assert set(queue) >= {"queue_size", "messages", "total", "pending", "processing", "retry"}


def test_a_stop_takes_no_more_than_ten_seconds_and_everybody_hears_goodbye(machine):
    program = """
idle = [connect()[0] for _ in range(10)]
open_ = [connect(*TRANSACTION)[0] for _ in range(10)]
within = [connect(*TRANSACTION, "DATA")[0] for _ in range(10)]
for file in within:
    file.write(b"Subject: half\\r\\n\\r\\n")
begun = time.monotonic()
stop = subprocess.Popen(["systemctl", "stop", "smtp-server"])
said = {file.readline().decode()[:9] for file in idle}
finished = {say(file, ".")[:9] for file in within[:5]}
left = {file.readline().decode()[:9] for file in open_ + within[5:]}
stop.wait()
print(json.dumps([sorted(said), sorted(finished), sorted(left), time.monotonic() - begun]))
"""
    said, finished, left, seconds = json.loads(machine.python(CLIENT + program))
    assert (said, finished, left) == (["421 4.3.2"], ["250 2.0.0"], ["421 4.3.2"])
    assert seconds < 10.5
    assert machine.run("ls /var/lib/smtp-server | grep -E 'wal|shm' || true").strip() == ""
    assert machine.run("systemctl show -p Result --value smtp-server").strip() == "success"
    ends = [line for line in machine.log().splitlines() if line.startswith("{")][-2:]
    assert ["Shutdown timeout: 15 connections still active" in ends[0], "Shutdown Complete" in ends[1]] == [True, True]


def test_the_unit_of_this_repository_says_when_it_is_ready_and_may_use_port_25(machine):
    machine.run("cp /opt/pillarbox/packaging/smtp-server.service /etc/systemd/system/; systemctl daemon-reload")
    machine.configure(PORT="25", LOG_FILE="/var/log/smtp-server/smtp-server.log")
    machine.run("systemctl restart smtp-server")
    assert machine.run("curl -s localhost:8081/health | jq -r .status").strip() == "healthy"  # at once
    assert machine.run("systemctl show -p StatusText --value smtp-server").strip().endswith("workers")
    main = machine.run("systemctl show -p MainPID --value smtp-server")
    place = "/var/log/smtp-server/smtp-server.log"
    machine.run(f"mv {place} {place}.1 && systemctl reload smtp-server")  # as logrotate does
    assert machine.run("systemctl show -p MainPID --value smtp-server") == main
    machine.run('exec 3<>/dev/tcp/127.0.0.1/25; read -r line <&3; [ "${line:0:3}" = 220 ]')
    until(lambda: "Reload Complete" in machine.run(f"cat {place}"), 5)
    assert machine.run(f"stat -c %a%U {place}").strip() == "640smtp"
    machine.configure(MAX_CONNECTIONS="0")
    assert machine.try_run("systemctl restart smtp-server")[0] == 1


def test_upgrade_and_rollback_by_copying_the_command(machine):
    def version() -> str:
        return machine.run("curl -s localhost:8081/stats | jq -r .version").strip()

    old = version()
    machine.run(f"sudo -u smtp sqlite3 {DB} '.backup /var/lib/smtp-server/smtp-backup-1.db'")
    place = "/opt/smtp-server/smtp-server"
    machine.run(f"systemctl stop smtp-server; cp {place} {place}.old")
    machine.run(f"cp /opt/pillarbox-new/.venv/bin/smtp-server {place}; chown root:smtp {place}; chmod 750 {place}")
    try:
        assert machine.run(f"{place} --version").startswith("SMTP Server v9.9.9\n")
        machine.run(f"sudo -u smtp SMTP_PROFILE=production {place} --validate-only")
        machine.restart()
        assert version() == "9.9.9"
    finally:
        machine.run(f"systemctl stop smtp-server; cp {place}.old {place}")
    machine.run(f"sudo -u smtp cp /var/lib/smtp-server/smtp-backup-1.db {DB}")
    machine.run(f"sudo -u smtp {place} --validate-only && systemctl start smtp-server")
    machine.until_healthy()
    assert version() == old
    assert machine.run("curl -s http://localhost:8081/health | jq .status").strip() == '"healthy"'


HAMMER = """
import threading
failures, count, over = [], [0], threading.Event()

def hit():
    while not over.is_set():
        try:
            file, answer = connect()
            assert answer.startswith("250"), answer
            assert say(file, "QUIT").startswith("221")
            count[0] += 1
        except Exception as error:
            failures.append(repr(error))

thread = threading.Thread(target=hit)
thread.start()
idle, _ = connect()
busy, _ = connect(*TRANSACTION, "DATA")
busy.write(b"Subject: half\\r\\n\\r\\n")
try:
    done = subprocess.run(COMMAND, shell=True, capture_output=True, text=True)
finally:
    over.set()
    thread.join()
busy.write(b"and half\\r\\n")
print(json.dumps([done.returncode, done.stdout + done.stderr, failures, count[0], say(idle, "NOOP"), say(busy, ".")]))
"""


@pytest.mark.parametrize("unit", ["the runbook's", "ours", "as root"])
def test_upgrade_without_a_restart_and_back(machine, unit):
    def version() -> str:
        return machine.run("curl -s localhost:8081/stats | jq -r .version").strip()

    def upgrade(command: str = "sudo -u smtp /opt/smtp-server/pillarbox upgrade") -> tuple[int, str]:
        program = CLIENT + f"COMMAND = {command!r}\n" + HAMMER
        code, said, failures, count, idle, busy = json.loads(machine.python(program))
        assert failures == [] and count > 5
        assert idle == "250 2.0.0 OK" and busy.startswith("250 2.0.0 OK: Message accepted for delivery")
        return code, said

    def install(place: str) -> None:
        for name in ("smtp-server", "pillarbox"):
            source, target = f"{place}/.venv/bin/{name}", f"/opt/smtp-server/{name}"
            machine.run(f"install -o root -g smtp -m 750 {source} {target}.new && mv {target}.new {target}")

    command = "sudo -u smtp /opt/smtp-server/pillarbox upgrade"
    if unit == "ours":
        machine.run("cp /opt/pillarbox/packaging/smtp-server.service /etc/systemd/system/")
    elif unit == "as root":
        place = machine.root / "etc/systemd/system/smtp-server.service"
        caps = "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_CHOWN CAP_DAC_OVERRIDE CAP_KILL"
        text = UNIT.replace("User=smtp\nGroup=smtp\n", "").replace("CapabilityBoundingSet=CAP_NET_BIND_SERVICE", caps)
        place.write_text(text)
        machine.configure(USER="smtp", PORT="2525")
        command = "/opt/smtp-server/pillarbox upgrade"
    old = version()
    install("/opt/pillarbox")
    machine.run("systemctl daemon-reload")
    machine.restart()
    main = machine.run("systemctl show -p MainPID --value smtp-server")
    try:
        install("/opt/pillarbox-new")
        code, said = upgrade(command)
        assert code == 0 and said.startswith(f"Version {old} became 9.9.9; 2 workers, still process {main.strip()}\n")
        assert version() == "9.9.9"
        assert machine.run("systemctl show -p MainPID --value smtp-server") == main
        until(lambda: machine.run("systemctl is-active smtp-server").strip() == "active", 5)
        assert "Hot Reload Complete" in machine.reload()
        machine.run("mv /opt/pillarbox/src /opt/pillarbox/src.away")
        install("/opt/pillarbox")
        code, said = upgrade(command.replace("/opt/smtp-server", "/opt/pillarbox-new/.venv/bin"))
        assert code == 1 and "version 9.9.9 goes on: " in said and "No module named 'pillarbox'" in said
        machine.run("mv /opt/pillarbox/src.away /opt/pillarbox/src")
        code, said = upgrade(command)
        assert code == 0 and version() == old
        worker = machine.run(f"pgrep -P {main.strip()} | tail -1").strip()
        machine.run(f"kill -9 {worker}")
        until(lambda: worker not in machine.run(f"pgrep -P {main.strip()}").split(), 10)
        machine.until_healthy()
        tasks = int(machine.run("ps -L -u smtp --no-headers | wc -l"))
        assert tasks <= 200  # three generations at most, of two workers
        before = len(machine.log())
        machine.run("systemctl kill --kill-whom=main --signal=USR2 smtp-server")
        until(lambda: "Upgrade Complete (#4)" in machine.log()[before:], 30)
        assert machine.run("systemctl show -p MainPID --value smtp-server") == main
    finally:
        machine.try_run("mv /opt/pillarbox/src.away /opt/pillarbox/src")
        install("/opt/pillarbox")
        machine.try_run("journalctl -u smtp-server -o cat --no-pager > /root/upgrade.log")
    machine.run("systemctl stop smtp-server")
    assert machine.run("systemctl show -p Result --value smtp-server").strip() == "success"
    assert machine.run("ls /var/lib/smtp-server | grep -E 'wal|shm|server.json' || true").strip() == ""
    machine.run("chown -R smtp:smtp /var/lib/smtp-server")


def test_a_server_killed_in_the_middle_of_an_upgrade_is_started_again(machine):
    machine.run("kill -USR2 $(systemctl show -p MainPID --value smtp-server)")
    until(lambda: "bringing the database" in machine.log(), 20)
    main = machine.run("systemctl show -p MainPID --value smtp-server").strip()
    machine.run(f"kill -9 {main}")
    until(lambda: machine.run("systemctl show -p MainPID --value smtp-server").strip() not in ("0", main), 15)
    machine.until_healthy()
    until(lambda: machine.run("pgrep -u smtp | wc -l").strip() in ("2", "3"), 15)
    assert machine.run("systemctl is-active smtp-server").strip() == "active"
    assert machine.run("systemctl show -p MainPID --value smtp-server").strip() != main


def test_a_killed_server_is_started_again_and_nothing_is_left_of_it(machine):
    main = machine.run("systemctl show -p MainPID --value smtp-server").strip()
    machine.run(f"kill -9 {main}")
    time.sleep(1)
    until(lambda: machine.run("systemctl show -p MainPID --value smtp-server").strip() not in ("0", main), 15)
    machine.until_healthy()
    until(lambda: machine.run("pgrep -u smtp | wc -l").strip() in ("2", "3"), 15)
    assert machine.run("systemctl is-active smtp-server").strip() == "active"
    assert machine.run("systemctl show -p MainPID --value smtp-server").strip() != main
