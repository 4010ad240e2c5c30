"""`pillarbox upgrade` with the real program: another version takes the place of the running one, and back."""

import imaplib
import json
import os
import shutil
import signal
import smtplib
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from running import ROOT, Running

IDLE = 20  # IMAP sessions: with so many the first one leaves within seconds


class Installed(Running):
    """A server started by a script of its own, as an installation has it; `install` replaces what it runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data")
        self.folder = folder
        self.script = folder / "pillarbox"
        self.program = (str(self.script),)

    def install(self, version: str, module: str = "", text: str = "") -> None:
        """A copy of this program that says it is of this version, with the text of one module changed."""
        tree = self.folder / version
        if not tree.exists():
            shutil.copytree(ROOT / "src/pillarbox", tree / "pillarbox", ignore=shutil.ignore_patterns("__pycache__"))
            (tree / "pillarbox/__init__.py").write_text(f'"""Pillarbox."""\n\n__version__ = "{version}"\n')
        if module:
            (tree / "pillarbox" / module).write_text(text)
        fresh = self.script.with_suffix(".new")
        fresh.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tree)!r})\n"
            "from pillarbox.cli.pillarbox import main\nsys.exit(main())\n"
        )
        fresh.chmod(0o755)
        fresh.replace(self.script)

    def version(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['health']}/stats", timeout=10) as answer:
            return json.load(answer)["version"]

    def settle(self, workers: int = 2, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while len(self.workers()) != workers:
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.05)


@pytest.fixture
def installed(tmp_path):
    server = Installed(tmp_path)
    server.install("1.0.1")
    yield server.start()
    if server.process.poll() is None:
        server.kill()


class Hammer:
    """Connects again and again, to SMTP, IMAPS and HTTP at once; `failures` is all that went wrong."""

    def __init__(self, server: Installed) -> None:
        self.server, self.failures, self.count = server, [], 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._hit, args=(what,)) for what in (self._smtp, self._imap, self._http)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _hit(self, what) -> None:
        while not self._over.is_set():
            try:
                what()
                self.count += 1
            except Exception as error:
                self.failures.append(f"{what.__name__}: {error!r}")

    def _smtp(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], "client.test", timeout=20) as client:
            assert client.noop()[0] == 250

    def _imap(self) -> None:
        client = self.server.imap()
        assert client.select("INBOX", readonly=True)[0] == "OK"
        client.logout()

    def _http(self) -> None:
        assert self.server.version()


def test_an_upgrade_and_back_under_load(installed):
    before = installed.process.pid
    recipient = installed.accounts[0][0]
    busy = installed.smtp()
    busy.ehlo()
    busy.docmd("MAIL FROM:<me@elsewhere.test>")
    busy.docmd(f"RCPT TO:<{recipient}>")
    assert busy.docmd("DATA")[0] == 354
    busy.send("Subject: begun before\r\n\r\n")
    idle = [installed.imap() for _ in range(IDLE)]
    for client in idle:
        client.select("INBOX")
    old = installed.workers()
    hammer = Hammer(installed)
    try:
        installed.install("1.0.2")
        done = installed.upgrade()
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"Version 1.0.1 became 1.0.2; 2 workers, still process {before}\n"
        assert installed.version() == "1.0.2"
        assert installed.process.poll() is None and installed.process.pid == before
        usable = [client for client in idle if answers(client) and answers(client)]
        assert len(usable) > IDLE // 2  # when this is slow, one or two may have been asked to leave by now
        busy.send("and ended after\r\n.\r\n")
        assert busy.getreply()[0] == 250
        end = time.monotonic() + 60
        while all(answers(client) for client in usable) and time.monotonic() < end:
            time.sleep(0.5)
        left = [client for client in usable if not answers(client)]
        assert left, "nobody was asked to leave"

        installed.install("1.0.1")
        assert installed.upgrade().returncode == 0
        assert installed.version() == "1.0.1"
    finally:
        hammer.stop()
        for client in idle:
            client.shutdown()
        busy.close()
    assert hammer.failures == []
    assert hammer.count > 10
    installed.settle()
    assert not set(installed.workers()) & set(old)
    assert any(b"begun before" in body and b"and ended after" in body for body in installed.messages().values())
    assert installed.stop() == 0
    assert not list(installed.data.glob("smtp.db-*")), "a clean stop leaves no WAL"
    installed.check()


def answers(client: imaplib.IMAP4) -> bool:
    """Whether the session goes on; it ends with BYE else."""
    try:
        return client.noop()[0] == "OK"
    except imaplib.IMAP4.abort as error:
        assert "going down" in str(error) or "EOF" in str(error) or "BYE" in str(error)
        return False
    except (OSError, ValueError):
        return False


BROKEN = {
    "a module that is no Python": ("server/worker.py", "def broken(:\n", "SyntaxError: invalid syntax"),
    "a module that is not there": ("server/trial.py", "import nowhere\n", "No module named 'nowhere'"),
    "settings that it cannot read": ("config/table.py", "raise SystemExit('no settings')\n", "no settings"),
}


def test_a_new_program_that_is_broken_changes_nothing(installed):
    workers = installed.workers()
    for number, (module, text, why) in enumerate(BROKEN.values()):
        installed.install(f"2.0.{number}", module, text)
        argv_program, installed.program = installed.program, (sys.executable, "-m", "pillarbox.cli.pillarbox")
        done = installed.upgrade()  # by another installation's command, since this one's is broken
        installed.program = argv_program
        assert done.returncode == 1
        assert "Error: the upgrade failed, version 1.0.1 goes on: " in done.stderr and why in done.stderr
        assert installed.workers() == workers
        assert installed.version() == "1.0.1"
    installed.install("1.0.1")
    assert installed.upgrade().returncode == 0
    assert installed.stop() == 0


def test_what_the_new_program_does_then(installed):
    installed.install("1.0.2")
    assert installed.upgrade().returncode == 0
    installed.settle()
    victim = installed.workers()[0]
    os.kill(victim, signal.SIGKILL)
    end = time.monotonic() + 10
    while (victim in installed.workers() or len(installed.workers()) < 2) and time.monotonic() < end:
        time.sleep(0.02)
    assert {installed.version() for _ in range(20)} == {"1.0.2"}
    installed.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while "Hot Reload Complete (#1)" not in installed.log.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    with installed.smtp() as client:
        assert client.sendmail("a@elsewhere.test", installed.accounts[0][0], "Subject: after\r\n\r\nhi\r\n") == {}
    installed.process.send_signal(signal.SIGUSR2)  # the other way to ask for it
    end = time.monotonic() + 30
    while "Upgrade Complete (#2)" not in installed.log.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert len(installed.messages()) == 1
    assert installed.stop() == 0
    assert not list(installed.data.glob("smtp.db-*"))


def test_without_a_server(tmp_path, installed):
    done = Running.upgrade(installed)
    assert done.returncode == 0
    assert installed.stop() == 0
    done = installed.upgrade()
    assert done.returncode == 1
    assert f"no server runs with the folder {installed.data}" in done.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", installed.ports["smtp"]))
