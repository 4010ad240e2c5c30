"""Nodes for tests: servers with a runtime folder, ports and a name of their own, on one database."""

from __future__ import annotations

import os
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pillarbox.server import standing
from running import Running

ADA, PASSWORD = "ada@example.com", "a password of Ada's"
SECRET = "the-secret-of-the-database"
_PORTS = ("SMTP", "IMAPS", "SUBMISSION", "POP3", "API", "HEALTH")


class Database:
    """Where nodes have their mail. Its URL has a password, which it does not need and nobody may see."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.environ = {**os.environ, "SMTP_DATABASE_URL": f"{url}&password={SECRET}"}
        self.printed = ""

    def run(self, module: str, *words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command as an operator types it beside a node."""
        argv = [sys.executable, "-m", f"pillarbox.cli.{module}", *words]
        done = subprocess.run(
            argv, env=self.environ, input=input, capture_output=True, text=True, timeout=60, check=False
        )
        self.printed += done.stdout + done.stderr
        return done

    def pillarbox(self, *words: str) -> str:
        done = self.run("pillarbox", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def add_account(self, username: str = ADA) -> None:
        done = self.run("user_cli", "create", username, "--password-stdin", input=PASSWORD)
        assert done.returncode == 0, done.stderr

    def add_route(self, port: int) -> None:
        """All mail for elsewhere goes to a port of loopback."""
        self.pillarbox("routes", "add", "sink", "smarthost", "--host", "127.0.0.1", "--port", str(port))
        self.pillarbox("routes", "use", "sink", "--for", "*")


class Node(Running):
    """One `smtp-server`. Its only account is Ada's."""

    def __init__(self, database: Database, name: str) -> None:
        super().__init__(database.folder / name)
        self.data.mkdir()
        self.database = database
        ports = {name: self._base + place for place, name in enumerate(_PORTS)}
        self.ready = {
            "ports": {name.lower(): port for name, port in ports.items()},
            "accounts": [{"username": ADA, "password": PASSWORD}],
        }
        self.environ = {
            **database.environ,
            **{"SMTP_PORT" if name == "SMTP" else f"SMTP_{name}_PORT": str(port) for name, port in ports.items()},
            "SMTP_RUNTIME_DIR": str(self.data),
            "SMTP_HOST": "127.0.0.1",
            "SMTP_HOSTNAME": f"{name}.example.com",
            "SMTP_WORKER_THREADS": "2",
            "SMTP_ENABLE_TLS": "true",
            "SMTP_REQUIRE_TLS": "false",
            "SMTP_RATE_LIMIT_PER_USER": "100000",
        }

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pillarbox.cli.smtp_server"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                start_new_session=True,
            )

    def start(self, seconds: float = 60) -> Node:
        self.launch()
        self.wait_until_ready(seconds)
        return self

    def wait_until_ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self._is_ready():
            assert self.process.poll() is None, f"it did not start: {self.log.read_text()[-4000:]}"
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"not ready within {seconds} s: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return self.standing().pid == self.process.pid
        except standing.NotRunning:
            return False

    def tls(self) -> ssl.SSLContext:
        """It makes its certificate itself, which nobody trusts."""
        return ssl._create_unverified_context()

    def submission(self) -> smtplib.SMTP:
        """Logged in."""
        client = smtplib.SMTP("127.0.0.1", self.ports["submission"], local_hostname="client.test", timeout=60)
        client.starttls(context=self.tls())
        client.login(ADA, PASSWORD)
        return client


def soon(happened: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until it has `happened`. Raises AssertionError that says `what` has not."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


@contextmanager
def nodes(database: Database, *names: str) -> Iterator[list[Node]]:
    """Nodes that start at once on a database that may be empty, with Ada's account.

    In the end those that run stop as they should, the store is whole, and nobody has seen the database's password.
    """
    found = [Node(database, name) for name in names]
    try:
        for node in found:
            node.launch()
        for node in found:
            node.wait_until_ready()
        database.add_account()
        yield found
        for node in found:
            if node.process.poll() is None:
                assert node.stop() == 0
        assert database.pillarbox("check")
    finally:
        for node in found:
            if node.process.poll() is None:
                node.kill()
    written = database.printed + "".join(log.read_text() for log in database.folder.glob("*.log"))
    assert "password=***" in written
    assert SECRET not in written
