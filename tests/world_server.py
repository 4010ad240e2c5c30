"""Pillarbox as an operator runs it, for the tests of this folder, and how they wait for mail."""

from __future__ import annotations

import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from imaplib import IMAP4_SSL
from pathlib import Path
from typing import Any

import pytest

from dns_servers import DnsServers
from peers import Peer, Sink, wait_port

BIN = Path(sys.executable).parent
PASSWORD = "a long enough password"
ADA, BOB = "ada@ours.example", "bob@ours.example"


class Ours:
    """Pillarbox as an operator runs it: `smtp-server` with its settings in the environment, accounts by `user-cli`."""

    def __init__(self, folder: Path, dns: DnsServers) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.env = os.environ | dns.settings() | {
            "SMTP_PROFILE": "staging",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_HOSTNAME": "mx.ours.example",
            "SMTP_PORT": "25",
            "SMTP_SUBMISSION_PORT": "587",
            "SMTP_SMTPS_PORT": "465",
            "SMTP_IMAPS_PORT": "993",
            "SMTP_DB_PATH": str(folder / "smtp.db"),
            "SMTP_TRUST_LOOPBACK": "true",
            "SMTP_WORKER_THREADS": "2",
            "SMTP_RETRY_SCHEDULE": "1s,1s,2s",
            "SMTP_QUEUE_FLUSH_INTERVAL_MS": "100",
            "SMTP_CIRCUIT_BREAKER_THRESHOLD": "1000",
            "SMTP_NEW_RECIPIENTS_PER_HOUR": "100000",
            "SMTP_RATE_LIMIT_PER_USER": "100000",
            "SMTP_DELIVERY_CONNECT_TIMEOUT_SECONDS": "3",
            "SMTP_DELIVERY_COMMAND_TIMEOUT_SECONDS": "3",
            "SMTP_DELIVERY_DATA_TIMEOUT_SECONDS": "3",
            "SMTP_DELIVERY_END_TIMEOUT_SECONDS": "3",
            "SMTP_PICKUP_DIR": str(folder / "pickup"),
            "SMTP_SENDMAIL_SOCKET": str(folder / "sendmail.sock"),
        }  # fmt: skip

    def run(self, program: str, *words: str, text: str | None = None, ok: tuple[int, ...] = (0,)) -> str:
        """One of our commands; its standard output."""
        done = subprocess.run(
            [BIN / program, *words], env=self.env, input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in ok, f"{program} {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "smtp-server"], env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_port("127.0.0.1", 465)
        except TimeoutError as error:
            raise OSError(self.log.read_text()[-4000:]) from error

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def submit(self, recipient: str, *options: str, sender: str = ADA, subject: str = "") -> str:
        """Submit a message by swaks over TLS, as `sender`; its subject."""
        subject = subject or f"test-{uuid.uuid4().hex}"
        argv = ["swaks", "--server", "127.0.0.1:465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", sender]
        argv += ["--auth-password", PASSWORD, "--from", sender, "--to", recipient, "--header", f"Subject: {subject}"]
        done = subprocess.run([*argv, *options], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return subject

    def queue(self) -> list[tuple[str, str, str]]:
        """(recipient, status, last error) of all rows."""
        database = sqlite3.connect(f"file:{self.folder}/smtp.db?mode=ro", uri=True, timeout=30)
        try:
            return database.execute("SELECT to_address, status, coalesce(last_error, '') FROM message_queue").fetchall()
        finally:
            database.close()

    def inbox(self, account: str = ADA) -> list[EmailMessage]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with IMAP4_SSL("127.0.0.1", 993, ssl_context=context, timeout=30) as client:
            client.login(account, PASSWORD)
            client.select("INBOX", readonly=True)
            _, data = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
        whole = [item[1] for item in data if isinstance(item, tuple)]
        return [message_from_bytes(message, policy=policy.default) for message in whole]  # type: ignore[misc]

    def report_on(self, text: str, account: str = ADA, seconds: float = 30) -> EmailMessage:
        """The delivery report in a mailbox that holds this text."""

        def look() -> EmailMessage | None:
            reports = (m for m in self.inbox(account) if m.get_content_type() == "multipart/report")
            return next((m for m in reports if text in m.as_string()), None)

        return within(seconds, look, f"no report on {text!r}")

    def words(self) -> str:
        return self.log.read_text()[-6000:]


def within(seconds: float, look: Callable[[], Any], otherwise: str) -> Any:
    """What `look` gives as soon as it is true. Fails with `otherwise` after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            pytest.fail(otherwise)
        time.sleep(0.05)
    return found


def arrived(peer: Peer, subject: str, user: str = "u", seconds: float = 30) -> bytes:
    """The one message with this subject that the peer has."""
    look = f"Subject: {subject}".encode()

    def mail() -> list[bytes]:
        return [m for m in (peer.taken() if isinstance(peer, Sink) else peer.mail(user)) if look in m]

    within(seconds, mail, f"{subject} did not arrive")
    found = mail()
    assert len(found) == 1
    return found[0]
