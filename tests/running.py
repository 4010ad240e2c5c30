"""A real server for tests: `pillarbox try --json` in a data folder of its own, as a script would start it."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import json
import os
import select
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pillarbox.server import standing

ROOT = Path(__file__).resolve().parent.parent
imaplib._MAXLINE = 50_000_000  # type: ignore[attr-defined]


FIRST, LAST = 12_000, 32_000  # below what the kernel gives to connections that go out, which come and go
BLOCK = 16  # ports of a call at least, so that those of another begin elsewhere
_calls = itertools.count()


def free_ports(count: int = 16) -> int:
    """The first of `count` consecutive ports of loopback on which nothing listens now.

    Processes that run tests at the same time begin in different places, and no call begins where the one before did.
    """
    places = (LAST - FIRST) // max(count, BLOCK)
    begin = os.getpid() * 37 + next(_calls)
    for place in range(begin, begin + places):
        base = FIRST + place % places * max(count, BLOCK)
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise OSError("no free ports on loopback")


def children_of(pid: int) -> list[int]:
    """Pids of the living children of a process with one thread, such as the workers of a supervisor."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Running:
    """One server process tree. `ready` is the line that `--json` prints, `program` the command before `try`."""

    program: tuple[str, ...] = (sys.executable, "-m", "pillarbox.cli.pillarbox")

    def __init__(self, data: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data, self._options, self._env = data, options, env or {}
        self._base = free_ports()
        self.log = data.parent / f"{data.name}.log"

    def start(self, seconds: float = 60) -> Running:
        argv = [*self.program, "try", "--json", "--data", str(self.data)]
        argv += ["--ports-from", str(self._base), *self._options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._env},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.kill()
            raise TimeoutError(f"not ready within {seconds} s: {self.log.read_text()[-2000:]}")
        line = self.process.stdout.readline()
        if not line:
            raise OSError(f"it did not start: {self.log.read_text()[-4000:]}")
        self.ready: dict[str, Any] = json.loads(line)
        return self

    @property
    def ports(self) -> dict[str, int]:
        return self.ready["ports"]

    @property
    def accounts(self) -> list[tuple[str, str]]:
        return [(a["username"], a["password"]) for a in self.ready["accounts"]]

    def workers(self) -> list[int]:
        return children_of(self.process.pid)

    def upgrade(self, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """`pillarbox upgrade`: its exit status and what it printed."""
        argv = [*self.program, "upgrade", "--runtime-dir", str(self.data)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)

    def standing(self) -> standing.Standing:
        """What the server says of itself, its last upgrade too."""
        return standing.read(self.data)

    def stop(self, seconds: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        self._close_output()
        return self.process.wait(seconds)

    def _close_output(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill_supervisor(self) -> None:
        """It alone: its workers have to notice."""
        self.process.kill()
        self._close_output()
        self.process.wait(10)

    def kill(self) -> None:
        """The whole tree at once, as a power loss would: only processes that this test started."""
        pids = [self.process.pid]
        with contextlib.suppress(FileNotFoundError):
            pids += self.workers()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._close_output()
        self.process.wait(10)
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
            time.sleep(0.005)

    def check(self) -> None:
        """`pillarbox check` finds nothing wrong with the store; the server may run or not."""
        argv = [sys.executable, "-m", "pillarbox.cli.pillarbox", "check", "--db", str(self.data / "smtp.db")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ready["ca"])

    def imap(self, account: int = 0) -> imaplib.IMAP4_SSL:
        client = imaplib.IMAP4_SSL("localhost", self.ports["imaps"], ssl_context=self.tls(), timeout=30)
        client.login(*self.accounts[account])
        return client

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.ports["smtp"], local_hostname="client.test", timeout=60)

    def messages(self, account: int = 0, mailbox: str = "INBOX") -> dict[int, bytes]:
        """Every message of a mailbox by UID, whole, as IMAP gives it."""
        client = self.imap(account)
        client.select(mailbox, readonly=True)
        _, data = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
        client.logout()
        found = (item for item in data if isinstance(item, tuple))
        return {int(head.split(b"UID ")[1].split()[0]): body for head, body in found}


def without_trace(message: bytes) -> bytes:
    """The message as its sender gave it: the trace headers that a delivery puts in front are taken off.

    They end with the first header field that is none of ours; every one of ours must be there.
    """
    ours = (b"return-path:", b"delivered-to:", b"received:", b"authentication-results:", b"x-pillarbox-")
    rest, seen = message, 0
    while rest.lower().startswith(ours):
        end = rest.index(b"\r\n") + 2
        while rest[end : end + 1] in (b" ", b"\t"):
            end = rest.index(b"\r\n", end) + 2
        name = rest[: rest.index(b":")].lower()
        seen += 1
        rest = rest[end:]
        if name == b"received":  # ours is one, the last of what we put in front
            break
    assert seen >= 3, f"trace headers are missing: {message[:200]!r}"
    return rest
