"""The whole server as processes: mail in by SMTP, out by IMAP, while workers die and settings are reloaded."""

from __future__ import annotations

import imaplib
import json
import os
import signal
import smtplib
import socket
import sqlite3
import ssl
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pillarbox.server import certificates
from pillarbox.server.application import PARTS

PASSWORD = "a long enough password"
ACCOUNT = "anna@example.test"


@pytest.fixture(scope="module")
def account() -> tuple[str, str]:
    """Hash and SCRAM keys, made once: they are slow on purpose."""
    from pillarbox.access.passwords import hash_password

    return hash_password(PASSWORD)


@pytest.fixture
def mail(server: Any, account: tuple[str, str]) -> Any:
    """A running server with one account, TLS, two workers."""
    make_account(server.folder / "smtp.db", account)
    server.start(parts=PARTS, **settings())
    return server


def settings(**changes: Any) -> dict[str, Any]:
    plain = {
        "hostname": "mx.example.test",
        "enable_tls": True,
        "imap_port": 0,
        "imaps_port": 0,
        "lmtp_port": 0,
        "health_port": 0,
        "api_port": 0,
        "max_connections": 50,
        "connections_per_ip": 50,
        "trust_loopback": True,
        "timeout_seconds": 60,
        "command_timeout_seconds": 60,
    }
    return plain | changes


def make_account(path: Path, account: tuple[str, str]) -> None:
    import asyncio

    from pillarbox.store import directory, open_store

    async def make() -> None:
        store = await open_store(path)
        await store.write(directory.create_user, ACCOUNT, ACCOUNT, *account)
        await store.close()

    asyncio.run(make())


def trust(server: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.folder / certificates.SELF_MADE)
    context.check_hostname = False
    return context


def send(server: Any, subject: str, *, port: str = "smtp") -> None:
    kind = smtplib.LMTP if port == "lmtp" else smtplib.SMTP
    with kind("127.0.0.1", server.ports[port], local_hostname="client.test") as client:
        client.sendmail("x@other.test", [ACCOUNT], f"Subject: {subject}\r\n\r\nbody\r\n")


class Ending:
    """Lets the fixture close a reader whose own `close` is a command."""

    def __init__(self, reader: imaplib.IMAP4) -> None:
        self._reader = reader

    def close(self) -> None:
        if self._reader.sock.fileno() >= 0:
            self._reader.shutdown()


class Reader(imaplib.IMAP4_SSL):
    def __init__(self, server: Any) -> None:
        super().__init__("127.0.0.1", server.ports["imaps"], ssl_context=trust(server), timeout=10)
        server.clients.append(Ending(self))
        self.login(ACCOUNT, PASSWORD)
        self.select("INBOX")

    def subjects(self) -> list[str]:
        self.noop()
        _, data = self.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return [item[1].decode().strip().removeprefix("Subject: ") for item in data if isinstance(item, tuple)]

    def idle(self) -> None:
        self.send(b"t IDLE\r\n")
        assert self.readline().startswith(b"+ ")


def readers_of_all_workers(server: Any) -> dict[int, Reader]:
    """A logged-in reader by pid of its worker, found by which process has the other end of its connection."""
    found: dict[int, Reader] = {}
    for _ in range(60):
        reader = Reader(server)
        found.setdefault(worker_of(server, reader.socket()), reader)
        if len(found) == 2:
            return found
    raise AssertionError("one worker took every connection")


def worker_of(server: Any, sock: socket.socket) -> int:
    host, port = sock.getsockname()
    local = sock.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{port:04X}"):
            inode = f"socket:[{fields[9]}]"
            for pid in server.workers():
                if any(_link(path) == inode for path in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
    raise AssertionError(f"no worker has the connection from {host}:{port}")


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def get(server: Any, path: str, port: str = "health") -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports[port]}{path}", timeout=5) as answer:
        text = answer.read().decode()
    return json.loads(text) if answer.headers["content-type"] == "application/json" else text


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def test_a_message_goes_in_and_comes_out(mail: Any) -> None:
    readers = readers_of_all_workers(mail)
    for reader in readers.values():
        reader.idle()
    send(mail, "one")
    for reader in readers.values():  # of both workers, at once
        assert reader.readline() == b"* 1 EXISTS\r\n"
    send(mail, "two", port="lmtp")
    assert Reader(mail).subjects() == ["one", "two"]
    stats = get(mail, "/stats")
    assert (stats["messages_received"] + 0 >= 1 and stats["auth_successes"] == len(readers) + 1) or stats
    assert stats["auth_successes"] >= 3 and stats["total_connections"] >= 4 and stats["workers"] == 2
    assert get(mail, "/health")["status"] == "healthy"
    assert get(mail, "/api/queue", "api")["queue_size"] == 0
    assert "pillarbox_commits_total" in get(mail, "/metrics", "api")
    for client in mail.clients:
        client.close()
    assert mail.stop() == 0
    assert not [path.name for path in mail.folder.iterdir() if path.name.endswith(("-wal", "-shm"))]
    with closing(sqlite3.connect(mail.folder / "smtp.db")) as database, database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_killed_worker_takes_no_other_session_with_it(mail: Any) -> None:
    readers = readers_of_all_workers(mail)
    victim, other = readers
    send(mail, "before")
    os.kill(victim, signal.SIGKILL)
    assert readers[other].subjects() == ["before"]
    for n in range(10):
        send(mail, f"after {n}")
    assert len(readers[other].subjects()) == 11
    mail.wait_for(lambda: get(mail, "/stats")["workers"] == 2)
    assert get(mail, "/health")["status"] == "healthy"
    assert "pillarbox_workers_died_total 1.0" in get(mail, "/metrics")


def test_a_reload_brings_another_certificate_and_keeps_connections(mail: Any) -> None:
    reader = Reader(mail)
    with socket.create_connection(("127.0.0.1", mail.ports["smtp"])) as plain:
        stream = plain.makefile("rb")
        assert stream.readline() == b"220 mx.example.test ESMTP Service Ready\r\n"
        mail.reload(**settings(hostname="mx2.example.test", max_connections=3))
        mail.wait_for("Hot Reload Complete")
        plain.sendall(b"NOOP\r\n")
        assert stream.readline().startswith(b"250")
        stream.close()
    reader.noop()
    context = ssl.create_default_context(cafile=mail.folder / certificates.SELF_MADE)

    def new_name() -> bool:
        with socket.create_connection(("127.0.0.1", mail.ports["imaps"])) as sock:
            try:
                context.wrap_socket(sock, server_hostname="mx2.example.test").close()
            except ssl.SSLError:
                return False
            return True

    mail.wait_for(new_name)
    assert reader.noop()[0] == "OK"
    mail.wait_for(lambda: get(mail, "/stats")["active_connections"] == 1)
    others = [socket.create_connection(("127.0.0.1", mail.ports["smtp"])) for _ in range(3)]
    greetings = sorted(other.recv(3) for other in others)
    assert greetings == [b"220", b"220", b"421"]  # the reader has the third seat
    for other in others:
        other.close()


def test_a_stop_says_goodbye_in_every_protocol(mail: Any) -> None:
    reader = Reader(mail)
    reader.idle()
    smtp = smtplib.SMTP("127.0.0.1", mail.ports["smtp"])
    smtp.ehlo("client.test")
    began = time.monotonic()
    os.kill(mail.pid, signal.SIGTERM)
    assert reader.readline().startswith(b"* BYE")
    reader.shutdown()
    assert smtp.getreply()[0] == 421
    smtp.close()
    mail.status = mail.wait()
    assert mail.status == 0 and time.monotonic() - began < 5
    assert "All connections closed gracefully" in mail.log()


def test_who_is_about_to_enter_is_told_by_a_stop(mail: Any) -> None:
    port = mail.ports["imaps"]
    with socket.create_connection(("127.0.0.1", port), 10) as late, socket.create_connection(("127.0.0.1", port), 10):
        Reader(mail)  # by now both are at the entrance
        began = time.monotonic()
        os.kill(mail.pid, signal.SIGTERM)
        mail.wait_for("shutting down")
        with trust(mail).wrap_socket(late) as secured:
            assert secured.recv(100).startswith(b"* BYE ")
        mail.status = mail.wait()
    assert mail.status == 0 and time.monotonic() - began < 8
    assert "TLS was not there yet" in mail.log()


def test_a_message_under_way_is_finished_by_a_stop(mail: Any) -> None:
    with socket.create_connection(("127.0.0.1", mail.ports["smtp"]), 10) as sock:
        stream = sock.makefile("rb")
        stream.readline()
        for line in (b"HELO c.test", b"MAIL FROM:<>", b"RCPT TO:<anna@example.test>", b"DATA"):
            sock.sendall(line + b"\r\n")
            answer = stream.readline()
        assert answer.startswith(b"354")
        sock.sendall(b"Subject: last\r\n\r\n")
        os.kill(mail.pid, signal.SIGTERM)
        mail.wait_for("shutting down")
        mail.wait_for(lambda: refused(mail.ports["smtp"]))  # not taken into a queue that nobody serves
        sock.sendall(b"words\r\n.\r\n")
        assert stream.readline().startswith(b"250 ")
        assert stream.readline().startswith(b"421 ")
        stream.close()
    mail.status = mail.wait()
    assert mail.status == 0
    with closing(sqlite3.connect(mail.folder / "smtp.db")) as database, database:
        assert database.execute("SELECT count(*) FROM messages").fetchone() == (1,)


def test_maintenance(mail: Any) -> None:
    (mail.folder / "maintenance").touch()
    mail.wait_for("Maintenance mode")
    with socket.create_connection(("127.0.0.1", mail.ports["smtp"]), 10) as refused:
        assert refused.recv(4) == b"421 "
    assert Reader(mail).noop()[0] == "OK"  # who reads mail is not bothered
    (mail.folder / "maintenance").unlink()
    mail.wait_for("Maintenance mode is over")
    send(mail, "again")


def test_a_disabled_account_is_logged_out(mail: Any) -> None:
    import asyncio

    from pillarbox.store import directory, open_store

    reader = Reader(mail)
    reader.idle()

    async def disable() -> None:
        store = await open_store(mail.folder / "smtp.db")
        await store.write(directory.set_enabled, ACCOUNT, False)
        await store.close()

    asyncio.run(disable())
    assert reader.readline().startswith(b"* BYE")


def test_threads_and_memory_stay_small(mail: Any) -> None:
    readers_of_all_workers(mail)
    for n in range(20):
        send(mail, str(n))
    get(mail, "/health")
    assert all(len(os.listdir(f"/proc/{pid}/task")) <= 12 for pid in mail.workers())
    assert len(os.listdir(f"/proc/{mail.pid}/task")) == 1
