"""Supervisor and workers as processes: start, replacement, reload, new generations, drain, and what the log says."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pillarbox.config import Settings


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_start_serve_stop(server: Any) -> None:
    server.start(hostname="mx.test")
    assert len(server.workers()) == 2
    found = server.connect_to_all()
    client = found.popitem()[1][0]
    assert client.hostname == "mx.test"
    assert client.ask("hello?") == f"{client.pid} mx.test"
    assert server.stop() == 0
    assert client.lines.readline() == b"bye\n"
    log = server.log()
    order = [
        "=== SMTP Server Starting ===",
        "Configuration loaded and validated successfully:",
        "  Max connections: 10",
        f"SMTP Server listening on 127.0.0.1:{server.ports['smtp']}",
        "Server shutting down gracefully...",
        "All connections closed gracefully",
        "=== SMTP Server Shutdown Complete ===",
    ]
    places = [log.find(text) for text in order]
    assert -1 not in places and places == sorted(places), log
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_a_killed_worker_is_replaced_and_nobody_else_notices(server: Any) -> None:
    server.start()
    found = server.connect_to_all()
    (victim, lost), (other, kept) = found.items()
    os.kill(int(victim), signal.SIGKILL)
    assert lost[0].lines.readline() == b""
    assert kept[0].ask("still there?").startswith(other)
    clients = [server.connect() for _ in range(20)]  # none is refused or waits for the dead one
    assert victim not in {client.pid for client in clients}
    server.wait_for(lambda: len(server.workers()) == 2)
    server.wait_for(lambda: "Worker died" in server.log() and "SIGKILL" in server.log())
    total = int(kept[0].ask("total"))
    assert total == len(server.clients)  # what the dead one counted is still counted
    assert server.stop(signal.SIGINT) == 0


def test_workers_ignore_signals_to_the_whole_group(server: Any) -> None:
    server.start()
    client = server.connect()
    for pid in server.workers():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    assert client.ask("still there?").startswith(client.pid)
    assert server.stop() == 0


def test_hints_reach_the_sibling(server: Any) -> None:
    server.start()
    one, two = (clients[0] for clients in server.connect_to_all().values())
    one.ask("hint")
    server.wait_for(lambda: two.ask("heard") == "[(1, 2)]")
    assert one.ask("heard") == "[]"


def test_what_is_under_way_may_finish(server: Any) -> None:
    server.start()
    idle, busy = server.connect(), server.connect()
    busy.ask("busy")
    os.kill(server.pid, signal.SIGTERM)
    assert idle.lines.readline() == b"bye\n"
    assert busy.ask("go on").startswith(busy.pid)
    busy.ask("done")
    assert busy.lines.readline() == b"bye\n"
    server.status = server.wait()
    assert server.status == 0
    assert "All connections closed gracefully" in server.log()


def test_asked_twice_it_stops_at_once(server: Any) -> None:
    server.start()
    busy = server.connect()
    busy.ask("busy")
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    server.wait_for("shutting down")
    assert server.stop() == 0
    assert time.monotonic() - began < 5
    assert "Shutdown timeout: 1 connections still active" in server.log()


def test_reload_changes_running_workers(server: Any) -> None:
    server.start(hostname="old.test")
    clients = [clients[0] for clients in server.connect_to_all().values()]
    workers = sorted(server.workers())
    server.reload(hostname="new.test", max_connections=7, db_path=str(server.folder / "other.db"))
    server.wait_for("=== Configuration Hot Reload Complete (#1) ===")
    for client in clients:
        server.wait_for(lambda c=client: c.ask("name?").endswith("new.test"))
    assert sorted(server.workers()) == workers
    log = server.log()
    assert "=== Configuration Hot Reload Started ===" in log
    assert "Config change: hostname old.test -> new.test\n" in log
    assert "Config change: max_connections 10 -> 7\n" in log
    assert "other.db (requires restart)\n" in log
    assert server.stop() == 0


def test_a_reload_with_errors_changes_nothing(server: Any) -> None:
    server.start(hostname="old.test")
    client = server.connect()
    server.reload(no_such_setting=1, hostname="new.test")
    server.wait_for("Configuration Hot Reload Failed, nothing was changed")
    assert "Configuration Error" in server.log()
    assert client.ask("name?").endswith("old.test")
    assert server.connect().hostname == "old.test"


def test_new_listeners_bring_new_workers_and_the_old_ones_drain(server: Any) -> None:
    server.start(worker_threads=2)
    busy = server.connect()
    busy.ask("busy")
    old = set(server.workers())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server.reload(worker_threads=1, imap_port=port)
    server.wait_for("Hot Reload Complete")
    server.wait_for(f"IMAP Server listening on 127.0.0.1:{port}")
    server.ports["imap"] = port
    assert server.connect("imap").pid not in map(str, old)
    server.wait_for(lambda: server.connect().pid not in map(str, old))
    server.wait_for(lambda: len(server.workers()) == 2)  # the new one, and the one that is busy
    assert all(server.connect().pid not in map(str, old) for _ in range(20))
    assert busy.ask("go on").startswith(busy.pid)
    busy.ask("done")
    assert busy.lines.readline() == b"bye\n"
    server.wait_for(lambda: len(server.workers()) == 1)
    server.reload(worker_threads=2)
    server.wait_for("Complete (#2)")
    server.wait_for(lambda: refused(port))
    assert server.stop() == 0


def test_new_workers_that_cannot_start_leave_the_old_ones(server: Any) -> None:
    server.start(hostname="old.test")
    client = server.connect()
    workers = set(server.workers())
    server.reload(hostname="fails.test", worker_threads=1)
    server.wait_for("Configuration Hot Reload Failed, the old workers go on: a new worker died")
    server.wait_for(lambda: set(server.workers()) == workers)
    assert client.ask("name?").endswith("old.test")
    assert server.connect().hostname == "old.test"
    assert server.stop() == 0


def test_a_listener_that_cannot_be_opened_in_a_reload(server: Any) -> None:
    server.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server.reload(imap_port=taken.getsockname()[1])
        server.wait_for("Failed, nothing was changed: SMTP_IMAP_PORT: cannot listen on")
    assert server.connect().ask("still there?")
    assert server.stop() == 0


def test_workers_that_cannot_start_end_the_server(server: Any) -> None:
    server.start(ready=False, hostname="fails.test")
    server.status = server.wait()
    assert server.status == 1
    assert "RuntimeError: it cannot start" in server.log()
    assert "The workers cannot start" in server.log()


def test_a_failed_preparation_ends_the_server(server: Any) -> None:
    def prepare(settings: Settings) -> None:
        raise OSError("no database here")

    server.start(ready=False, prepare=prepare)
    server.status = server.wait()
    assert server.status == 1 and "no database here" in server.log()


def test_preparation_and_conclusion_run_in_children(server: Any) -> None:
    folder = server.folder

    def prepare(settings: Settings) -> None:
        (folder / "prepared").write_text(str(os.getpid()))

    def conclude(settings: Settings) -> None:
        (folder / "concluded").write_text(str(os.getpid()))

    server.start(prepare=prepare, conclude=conclude)
    assert server.stop() == 0
    pids = {(folder / name).read_text() for name in ("prepared", "concluded")}
    assert len(pids) == 2 and str(server.pid) not in pids


def test_a_port_that_is_taken_ends_the_start(server: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server.start(ready=False, port=taken.getsockname()[1])
        server.status = server.wait()
    assert server.status == 1
    assert "SMTP_PORT: cannot listen on 127.0.0.1" in server.log() and "Fix:" in server.log()


def test_maintenance_is_noticed(server: Any) -> None:
    server.start()
    (server.folder / "maintenance").touch()
    server.wait_for("Maintenance mode: new SMTP connections get 421")
    (server.folder / "maintenance").unlink()
    server.wait_for("Maintenance mode is over")


def test_orphaned_workers_end(server: Any) -> None:
    server.start()
    workers = server.workers()
    os.kill(server.pid, signal.SIGKILL)
    server.status = server.wait()
    server.wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers))
    assert "The supervisor is gone" in server.log()


def test_tls_with_a_certificate_of_its_own_and_a_log_file(server: Any) -> None:
    import ssl

    server.start(enable_tls=True, imaps_port=0, hostname="mx.test", log_file=str(server.folder / "log"))
    trusted = ssl.create_default_context(cafile=server.folder / "self-made.pem")
    with (
        socket.create_connection(("127.0.0.1", server.ports["imaps"]), 10) as plain,
        trusted.wrap_socket(plain, server_hostname="mx.test") as secured,
    ):
        assert secured.recv(5) == b"hello"
        session, pid = secured.session, secured.recv(64).split()[0]
    for _ in range(1000):  # until another worker takes it, who knows that session too
        with (
            socket.create_connection(("127.0.0.1", server.ports["imaps"]), 10) as plain,
            trusted.wrap_socket(plain, server_hostname="mx.test", session=session) as again,
        ):
            assert again.recv(5) == b"hello" and again.session_reused
            session, other = again.session, again.recv(64).split()[0]
        if other != pid:
            break
    else:
        raise AssertionError("one worker took all connections")
    (server.folder / "log").rename(server.folder / "log.1")
    server.reload(
        enable_tls=True, imaps_port=0, hostname="mx.test", log_file=str(server.folder / "log"), max_connections=9
    )
    server.wait_for("Hot Reload Complete")
    assert "Hot Reload Complete" in (server.folder / "log").read_text()
    assert "SMTP Server Starting" in (server.folder / "log.1").read_text()
    assert server.stop() == 0
