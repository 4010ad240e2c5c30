"""Every setting of the runbook on a running `smtp-server`: what it says and does is what was set."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from client_certificates import Authority
from running import children_of, free_ports


class Talk:
    """An SMTP client that says what it is told; a reply is its text with the lines joined."""

    def __init__(self, port, host="127.0.0.1", ehlo=True, first=b""):
        self.socket = socket.create_connection((host, port), timeout=20)
        self.socket.sendall(first)
        self.lines = self.socket.makefile("rb")
        self.greeting = self.reply()
        if ehlo and self.greeting.startswith("220"):
            self.features = self.say("EHLO client.test")

    def reply(self):
        lines = []
        while line := self.lines.readline().decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def say(self, *lines):
        """Send each and read its reply, up to the first that is refused; the last reply."""
        for line in lines:
            self.socket.sendall(line.encode() + b"\r\n")
            if (last := self.reply())[:1] > "3":
                break
        return last

    def message(self, recipient="ada@example.com", body="Subject: x\r\n\r\nhi", sender="me@client.test"):
        last = self.say(f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA")
        return self.say(body + "\r\n.") if last.startswith("354") else last

    def starttls(self):
        assert self.say("STARTTLS").startswith("220")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain, self.socket = self.socket, context.wrap_socket(self.socket)
        plain.close()
        self.lines.close()
        self.lines = self.socket.makefile("rb")
        self.features = self.say("EHLO client.test")

    def close(self):
        self.lines.close()
        self.socket.close()


class Program:
    """A running `smtp-server` with these settings and nothing else in its environment."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self.base = free_ports()
        own = {"HOST": "127.0.0.1", "PORT": self.base, "API_PORT": self.base + 1, "HEALTH_PORT": self.base + 2}
        own |= {"HOSTNAME": "mail.example.com", "DB_PATH": folder / "smtp.db", "TLS_MIN_VERSION": "1.2"} | settings
        self.environ = {f"SMTP_{name}": str(value) for name, value in own.items() if value is not None}
        self.environ["PATH"] = os.environ["PATH"]
        self.log = folder / "log"
        self.clients = []

    def start(self):
        argv = [sys.executable, "-m", "pillarbox.cli.smtp_server"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=self.folder, env=self.environ, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not self._is_up():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)
        return self

    def _is_up(self):
        try:
            return self.fetch("/live") != ""
        except OSError:
            return False

    def said(self):
        return self.log.read_text()

    def says(self, text, seconds=10):
        end = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < end, f"{text!r} is not in the log:\n{self.said()}"
            time.sleep(0.05)

    def stop(self):
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def workers(self):
        return children_of(self.process.pid)

    def fetch(self, path, offset=2):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.base + offset}{path}", timeout=10) as answer:
            return answer.read().decode()

    def figure(self, name):
        return json.loads(self.fetch("/stats"))[name]

    def metric(self, name):
        return float(re.search(rf"^{name} (\S+)$", self.fetch("/metrics"), re.MULTILINE)[1])

    def talk(self, port=None, **options):
        self.clients.append(client := Talk(port or self.base, **options))
        return client


@pytest.fixture
def running(tmp_path):
    @contextmanager
    def run(**settings):
        program = Program(tmp_path, **settings)
        argv = [sys.executable, "-m", "pillarbox.cli.user_cli", "create", "ada@example.com", "correct horse"]
        if not (tmp_path / "smtp.db").exists():
            subprocess.run(argv, env=program.environ, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        program.start()
        try:
            yield program
        finally:
            assert program.stop() == 0

    return run


def test_host_port_hostname_and_log_lines(running):
    with running(HOST="127.0.0.2", ENABLE_JSON_LOGGING="true") as server:
        assert server.talk(host="127.0.0.2").greeting == "220 mail.example.com ESMTP Service Ready"
        with pytest.raises(ConnectionRefusedError):
            server.talk()
        server.says(f"SMTP Server listening on 127.0.0.2:{server.base}")
        lines = [json.loads(line) for line in server.said().splitlines()]
        assert {tuple(line)[:5] for line in lines} == {("timestamp", "level", "service", "hostname", "message")}
        assert {line["service"] for line in lines} == {"smtp-server"}


def test_ipv6_and_both(running):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running(HOST="::") as server:
        assert server.talk(host="::1").greeting.startswith("220")
        assert server.talk(host="127.0.0.1").greeting.startswith("220")


def test_port_0_is_one_the_system_chooses_and_the_log_names(running):
    with running(PORT="0", API_PORT="off") as server:
        server.says("SMTP Server listening on")
        port = int(re.search(r"SMTP Server listening on 127.0.0.1:(\d+)", server.said())[1])
        assert port > 0
        assert server.talk(port).greeting.startswith("220")
        with pytest.raises(OSError, match="refused"):
            server.fetch("/health", 1)


PROFILES = {  # connections, size, recipients, STARTTLS, workers, json
    "development": (100, 10 << 20, 100, False, 2, False),
    "testing": (10, 1 << 20, 10, False, 1, False),
    "staging": (500, 25 << 20, 100, True, 4, True),
    "production": (2000, 25 << 20, 100, True, 8, True),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles(running, profile):
    connections, size, recipients, tls, workers, as_json = PROFILES[profile]
    with running(PROFILE=profile, TLS_MIN_VERSION=None, LOG_LEVEL="info") as server:
        client = server.talk()
        assert f"\n250-SIZE {size}\n" in client.features
        assert f"RCPTMAX={recipients}\n" in client.features
        assert ("250-STARTTLS" in client.features) is tls
        assert "AUTH" not in client.features
        assert server.metric("smtp_max_connections") == connections
        workers = min(workers, len(os.sched_getaffinity(0)))
        assert f"Starting {workers} worker(s)" in server.said()
        assert server.said().startswith("{") is as_json
        assert client.message().startswith("250")  # a public mail exchanger takes mail without TLS
        if tls:
            client.starttls()
            assert "250-AUTH PLAIN LOGIN" in client.features
            plain = base64.b64encode(b"\0ada@example.com\0correct horse").decode()
            assert client.say(f"AUTH PLAIN {plain}").startswith("235")


def test_connections_of_all_workers_together(running):
    with running(MAX_CONNECTIONS="4", WORKER_THREADS="2") as server:
        kept = [server.talk(ehlo=False) for _ in range(4)]
        assert {client.greeting[:3] for client in kept} == {"220"}
        assert server.talk().greeting.startswith("421 4.3.2 ")
        assert server.metric("smtp_connections_active") == 4
        kept[0].say("QUIT")
        end = time.monotonic() + 5
        while server.figure("active_connections") == 4 and time.monotonic() < end:
            time.sleep(0.02)
        assert server.talk().greeting.startswith("220")


def test_connections_of_one_address_which_a_proxy_may_tell(running):
    def proxied(address):
        return server.talk(first=f"PROXY TCP4 {address} 127.0.0.1 4000 25\r\n".encode()).greeting

    with running(CONNECTIONS_PER_IP="1", PROXY_NETWORKS="127.0.0.0/8") as server:
        greetings = [proxied("192.0.2.1"), proxied("192.0.2.1"), proxied("192.0.2.2")]
        assert [greeting[:9] for greeting in greetings] == ["220 mail.", "421 4.7.0", "220 mail."]
        client = server.talk(first=b"PROXY TCP4 192.0.2.3 127.0.0.1 4000 25\r\n")
        assert client.message().startswith("250")
        server.says("192.0.2.3:4000")


def test_a_disk_with_less_than_its_reserve_takes_no_mail(running):
    with running(DISK_RESERVE=str(1024 << 30)) as server:
        assert server.talk().message().startswith("452 4.3.1")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            server.fetch("/health")


def test_size_and_recipients(running):
    with running(MAX_MESSAGE_SIZE="2000", MAX_RECIPIENTS="2") as server:
        client = server.talk()
        assert "250-SIZE 2000" in client.features
        assert client.say("MAIL FROM:<> SIZE=2001").startswith("552 5.3.4")
        assert client.message(body="x" * 900 + "\r\n" + "y" * 900 + "\r\n" + "z" * 300).startswith("552 5.3.4")
        client.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>", "RCPT TO:<postmaster@example.com>")
        assert client.say("RCPT TO:<ada+tag@example.com>").startswith("452 4.5.3")


def test_the_four_timeouts(running):
    with running(
        GREETING_TIMEOUT_SECONDS="1", COMMAND_TIMEOUT_SECONDS="3", DATA_TIMEOUT_SECONDS="5", TIMEOUT_SECONDS="60"
    ) as server:
        silent, idle, slow = server.talk(ehlo=False), server.talk(), server.talk()
        slow.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>", "DATA")
        begun = time.monotonic()
        for client, least, said in ((silent, 1, "421 4.4.2"), (idle, 3, "421 4.4.2"), (slow, 5, "451 4.4.2")):
            assert client.reply().startswith(said)
            assert client.reply() == ""
            assert least - 0.5 < time.monotonic() - begun < least + 2.5  # it is looked at once a second
    with running(TIMEOUT_SECONDS="1", COMMAND_TIMEOUT_SECONDS="60", DATA_TIMEOUT_SECONDS="60") as server:
        idle, slow = server.talk(), server.talk()
        slow.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>", "DATA")
        begun = time.monotonic()
        assert idle.reply().startswith("421 4.4.2")
        assert slow.reply().startswith("451 4.4.2")
        assert time.monotonic() - begun < 5


def test_messages_from_one_address_and_of_one_account(running):
    with running(RATE_LIMIT_PER_IP="2") as server:
        assert [server.talk().message()[:3] for _ in range(3)] == ["250", "250", "450"]
        assert server.figure("rate_limit_hits") == 1
        assert server.metric("smtp_rate_limit_hits_total") == 1
        server.says("Rate limit exceeded")
    with running(RATE_LIMIT_PER_USER="1", ENABLE_AUTH="true", ENABLE_TLS="true") as server:
        client = server.talk()
        client.starttls()
        plain = base64.b64encode(b"\0ada@example.com\0correct horse").decode()
        assert client.say(f"AUTH PLAIN {plain}").startswith("235")
        assert [client.message(sender="ada@example.com")[:3] for _ in range(2)] == ["250", "450"]


def test_tls_and_auth_asked_of_everybody_only_when_set(running):
    with running(PROFILE="production", REQUIRE_TLS="true") as server:
        client = server.talk()
        assert client.message().startswith("530 5.7.0")
        client.starttls()
        assert client.message().startswith("250")
        assert "SMTP_REQUIRE_TLS is set" in server.said()
    with running(ENABLE_TLS="true", ENABLE_AUTH="false") as server:
        client = server.talk()
        client.starttls()
        assert "AUTH" not in client.features
        assert client.say("AUTH PLAIN AGEAYg==").startswith("50")


def test_log_level_format_and_file(running, tmp_path):
    place = tmp_path / "server.log"
    with running(LOG_LEVEL="error", LOG_FILE=place, ENABLE_JSON_LOGGING="true") as server:
        assert server.talk().message().startswith("250")
        assert server.said() == ""
        assert place.read_text() == ""
        assert place.stat().st_mode & 0o777 == 0o640
    with running(DEBUG="true", LOG_FORMAT="text", ENABLE_JSON_LOGGING="true") as server:
        client = server.talk()
        client.message()
        server.says("-> MAIL")
        server.says("<- 250 2.0.0 OK: Message accepted for delivery")
        assert re.match(r"\[\d+\] \[[A-Z]+\] ", server.said())


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("msmtp")), reason="curl and msmtp are not installed")
def test_a_clients_certificate_logs_in(running, tmp_path):
    first, second = Authority(tmp_path, "First"), Authority(tmp_path, "Second")
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(first.file.read_bytes())
    port = free_ports() + 3  # the program takes the first of these

    def curl(file, user="ada%40example.com"):
        certificate = ("--cert", str(file)) if file else ()
        ask = ("--login-options", "AUTH=EXTERNAL", f"imaps://{user}@127.0.0.1:{port}/INBOX?ALL")
        done = subprocess.run(["curl", "-sSk", *certificate, *ask], capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.returncode

    with running(ENABLE_TLS="true", IMAPS_PORT=port, SMTPS_PORT=port + 1, TLS_CLIENT_CA=authorities) as server:
        ours, theirs = first.issue("ada@example.com"), second.issue("ada@example.com")
        assert curl(ours) == "* SEARCH"
        assert curl(None) == 67  # login denied
        assert curl(ours, "bob%40example.com") == 67
        assert curl(theirs) in (35, 56)  # the handshake fails
        msmtp = ["msmtp", "--host=127.0.0.1", f"--port={port + 1}", "--tls", "--tls-starttls=off"]
        msmtp += ["--tls-certcheck=off", f"--tls-cert-file={ours}", f"--tls-key-file={ours}", "--auth=external"]
        msmtp += ["--user=ada@example.com", "--from=ada@example.com", "ada@example.com"]
        subprocess.run(msmtp, input=b"From: ada@example.com\n\nhi\n", check=True)
        assert curl(ours) == "* SEARCH 1"
        authorities.write_bytes(second.file.read_bytes())
        server.process.send_signal(signal.SIGHUP)
        server.says("Authorities of clients' certificates change")
        server.says("Hot Reload Complete")
        end = time.monotonic() + 10
        while curl(theirs) != "* SEARCH 1" and time.monotonic() < end:
            time.sleep(0.05)  # each worker takes it by itself
        assert curl(theirs) == "* SEARCH 1"
        assert curl(ours) in (35, 56)
        authorities.write_bytes(b"nonsense")
        server.process.send_signal(signal.SIGHUP)
        server.says("SMTP_TLS_CLIENT_CA")
        server.says("Hot Reload Failed, nothing was changed")
        assert curl(theirs) == "* SEARCH 1"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="curl and openssl are not installed")
def test_a_registered_self_signed_certificate_logs_in(running, tmp_path):
    key, certificate, port = tmp_path / "phone.key", tmp_path / "phone.pem", free_ports() + 3
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365"]
    make += ["-subj", "/CN=Ada's phone", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)

    def curl():
        shown = ("--cert", str(certificate), "--key", str(key), "--login-options", "AUTH=EXTERNAL")
        command = ["curl", "-sSk", *shown, f"imaps://ada%40example.com@127.0.0.1:{port}/INBOX?ALL"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.returncode

    def until(wanted):
        end = time.monotonic() + 10
        while (found := curl()) != wanted and time.monotonic() < end:
            time.sleep(0.05)  # each worker takes it by itself
        return found

    def pillarbox(*words):
        command = [sys.executable, "-m", "pillarbox.cli.pillarbox", *words, "--db", str(tmp_path / "smtp.db")]
        subprocess.run(command, check=True, capture_output=True)

    with running(ENABLE_TLS="true", IMAPS_PORT=port):
        assert curl() == 67  # login denied: nobody is asked for a certificate
        pillarbox("certificate", "add", "ada@example.com", str(certificate))
        assert until("* SEARCH") == "* SEARCH"
        pillarbox("certificate", "remove", "1")
        assert until(67) == 67


@pytest.mark.parametrize("cores", ["shared", "own"])
def test_the_cores_of_workers(running, cores):
    """The loop of a worker and its writer have one core; the threads that hash and pack have all."""
    usable = os.sched_getaffinity(0)

    def cores_of(worker):
        return [os.sched_getaffinity(int(thread)) for thread in os.listdir(f"/proc/{worker}/task")]

    with running(WORKER_THREADS=str(len(usable)), WORKER_CORES=cores) as server:
        assert server.talk().message().startswith("250")
        end = time.monotonic() + 20
        while any(len(cores_of(worker)) < 4 for worker in server.workers()) and time.monotonic() < end:
            time.sleep(0.05)  # the second worker may still be on its way
        loops = [os.sched_getaffinity(worker) for worker in server.workers()]
        for worker, loop in zip(server.workers(), loops, strict=True):
            assert cores_of(worker).count(loop) >= 2
            assert usable in cores_of(worker)
        if cores == "own":
            assert sorted(core for loop in loops for core in loop) == sorted(usable)
        else:
            assert loops == [usable] * len(usable)


def test_workers_and_the_database(running, tmp_path):
    with running(WORKER_THREADS="1", DATABASE_POOL_SIZE="30", BUFFER_POOL_SIZE="1000") as server:
        assert len(server.workers()) == 1
        assert (tmp_path / "smtp.db").stat().st_mode & 0o777 == 0o600
        assert "SMTP_DATABASE_POOL_SIZE (environment) has no effect" in server.said()


@pytest.mark.parametrize(
    ("name", "value"),
    [("ENABLE_DNSBL", "true"), ("ENABLE_GREYLIST", "true"), ("ENABLE_TRACING", "true"), ("WEBHOOK_ENABLED", "true")],
)
def test_what_comes_later_is_checked_and_says_so(tmp_path, name, value):
    program = Program(tmp_path, **{name: value, "WEBHOOK_URL": "https://hook.example.com/"})
    argv = [sys.executable, "-m", "pillarbox.cli.smtp_server", "--validate-only"]
    done = subprocess.run(argv, env=program.environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert f"SMTP_{name} (environment) has no effect yet" in done.stderr
    assert done.stdout.startswith("Configuration validation successful!\n")
    assert not (tmp_path / "smtp.db").exists()
    program.environ[f"SMTP_{name}"] = "perhaps"
    done = subprocess.run(argv, env=program.environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
