"""Another program takes the place of a running one: clients notice nothing; and every way in which it fails."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pillarbox.server import standing, upgrade


def ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}/exe").exists()


def upgraded(server: Any, times: int = 1, **flaws: Any) -> None:
    old = {str(pid) for pid in server.workers()}
    server.upgrade(**flaws)
    server.wait_for(f"=== Upgrade Complete (#{times}) ===")
    server.wait_for(lambda: server.standing().upgrade.state == "done")

    def taken_by_new_ones() -> bool:  # the old ones may still be about to hear that they take no more
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            client.close()
        return all(client.pid not in old for client in clients)

    server.wait_for(taken_by_new_ones)


def test_sessions_go_on_and_the_pid_stays(server: Any) -> None:
    server.start(hostname="old.test")
    old = set(server.workers())
    busy = server.connect()
    busy.ask("busy")
    assert int(busy.ask("total")) == len(server.clients)
    started = standing.started(server.pid)
    server.reload(hostname="old.test", max_connections=9)
    server.wait_for("Hot Reload Complete")
    server.changes.write_text('{"hostname": "new.test"}')
    upgraded(server)
    assert server.standing().pid == server.pid and standing.started(server.pid) == started
    fresh = [server.connect() for _ in range(10)]
    assert {client.hostname for client in fresh} == {"new.test"}
    assert not {int(client.pid) for client in fresh} & old
    assert int(fresh[0].ask("total")) == len(server.clients)  # what the old ones counted is counted on
    assert busy.ask("go on").startswith(busy.pid)
    busy.ask("done")
    assert busy.lines.readline() == b"bye\n"
    server.wait_for(lambda: not old & set(server.workers()))
    assert len(server.workers()) == 2
    assert server.stop() == 0
    assert (server.folder / "concluded").exists()
    assert "All connections closed gracefully" in server.log()
    assert not (server.folder / standing.FILE).exists()


def test_nobody_is_refused_meanwhile(server: Any) -> None:
    server.start()
    over, failures, pids = threading.Event(), [], set()

    def hammer() -> None:
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", server.ports["smtp"]), 10) as client:
                    hello = client.makefile("rb").readline()
                    pids.add(hello.split()[1])
            except (OSError, IndexError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        upgraded(server, 1)
        server.upgrade(prints="no such program")
        server.wait_for("Upgrade Failed")
        upgraded(server, 3)
        time.sleep(0.2)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(pids) == 6
    assert server.stop() == 0


def test_a_worker_killed_after_it_is_replaced_by_the_new_program(server: Any) -> None:
    server.start(hostname="old.test")
    server.changes.write_text('{"hostname": "new.test"}')
    upgraded(server)
    server.wait_for(lambda: len(server.workers()) == 2)
    for victim in server.workers():
        os.kill(victim, signal.SIGKILL)
        server.wait_for(lambda pid=victim: pid not in server.workers() and len(server.workers()) == 2)
        assert server.connect().hostname == "new.test"
    assert server.log().count("Worker died") == 2
    assert server.stop() == 0


def test_reload_after_it_and_meanwhile(server: Any) -> None:
    server.start()
    server.upgrade(sleeps=1)
    server.wait_for((server.folder / "asleep").exists)
    server.reload(hostname="later.test")
    server.wait_for("The settings are loaded again when the upgrade has ended")
    server.upgrade(sleeps=1)
    server.wait_for("An upgrade is under way already")
    server.wait_for("=== Configuration Hot Reload Complete (#1) ===")
    assert "Upgrade Complete (#1)" in server.log()
    server.wait_for(lambda: server.connect().hostname == "later.test")
    server.reload(hostname="again.test", worker_threads=1)
    server.wait_for("=== Configuration Hot Reload Complete (#2) ===")
    server.wait_for(lambda: server.connect().hostname == "again.test")
    server.wait_for(lambda: len(server.workers()) == 1)
    assert server.stop() == 0


def test_listeners_and_workers_may_be_others(server: Any) -> None:
    server.start(worker_threads=1)
    old = server.connect()
    old.ask("busy")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server.changes.write_text(f'{{"worker_threads": 2, "imap_port": {port}}}')
    upgraded(server)
    server.ports["imap"] = port
    assert all(len(server.connect_to_all(role, but=old.pid)) == 2 for role in ("smtp", "imap"))
    server.changes.write_text('{"worker_threads": 1}')
    upgraded(server, 2)
    with pytest.raises(ConnectionRefusedError):
        server.connect("imap")
    assert all(server.connect().ask("hi") for _ in range(20))
    assert old.ask("still there?").startswith(old.pid)  # two programs ago
    old.ask("done")
    assert server.stop() == 0


FLAWS: list[tuple[dict[str, Any], str]] = [
    ({"prints": "ModuleNotFoundError: No module named 'x'"}, "ModuleNotFoundError: No module named 'x'"),
    ({"prepare": "the migration failed"}, "OSError: the migration failed"),
    ({"kills": "trial"}, "the new program ended: signal SIGKILL"),
    ({"vanishes": True}, "no such file or directory"),
]


@pytest.mark.parametrize(("flaws", "why"), FLAWS)
def test_a_program_that_cannot_leaves_the_old_one(server: Any, flaws: dict[str, Any], why: str) -> None:
    server.start(hostname="old.test")
    workers, client = set(server.workers()), server.connect()
    server.upgrade(**flaws)
    server.wait_for("Upgrade Failed, the running program goes on")
    attempt = server.standing().upgrade
    assert attempt.state == "failed" and why in attempt.text and why in server.log()
    server.wait_for(lambda: set(server.workers()) == workers)
    assert client.ask("still there?").startswith(client.pid)
    if "vanishes" not in flaws:
        upgraded(server, 2)
    assert server.stop() == 0


def test_new_workers_that_cannot_start(server: Any) -> None:
    server.start(hostname="old.test")
    workers = set(server.workers())
    server.changes.write_text('{"hostname": "fails.test"}')
    server.upgrade()
    server.wait_for("Upgrade Failed, the running program goes on: a new worker died: RuntimeError: it cannot start")
    server.wait_for(lambda: set(server.workers()) == workers)
    server.changes.write_text('{"hostname": "new.test", "no_such_setting": 1}')
    server.upgrade()
    server.wait_for(lambda: "no_such_setting" in server.standing().upgrade.text)
    assert server.connect().hostname == "old.test"
    assert server.stop() == 0


def test_a_setting_that_takes_a_restart(server: Any) -> None:
    server.start()
    server.changes.write_text('{"db_path": "/tmp/other.db"}')
    server.upgrade()
    server.wait_for("changed, which takes a restart. Fix:")
    assert "SMTP_DB_PATH, " in server.standing().upgrade.text
    assert server.connect().ask("still there?")
    assert server.stop() == 0


def test_one_that_takes_too_long(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "longest", lambda _: 0.5)
    server.start()
    workers = set(server.workers())
    server.upgrade(sleeps=30)
    server.wait_for("it was not ready in time: bringing the database to this version")
    server.wait_for(lambda: set(server.workers()) == workers)
    assert server.stop() == 0


def test_a_stop_meanwhile(server: Any) -> None:
    server.start()
    server.upgrade(sleeps=30)
    server.wait_for((server.folder / "asleep").exists)
    children = server.workers()
    assert len(children) == 3
    assert server.stop() == 0
    server.wait_for(lambda: all(ended(pid) for pid in children))


def test_a_worker_that_dies_meanwhile_is_replaced(server: Any) -> None:
    server.start()
    server.upgrade(sleeps=1)
    server.wait_for((server.folder / "asleep").exists)
    os.kill(int(server.connect().pid), signal.SIGKILL)
    server.wait_for("Worker died")
    assert server.connect().ask("still there?")
    server.wait_for("=== Upgrade Complete (#1) ===")
    server.wait_for(lambda: len(server.workers()) == 2)
    assert server.stop() == 0


def test_when_the_server_is_killed_meanwhile_nothing_of_it_stays(server: Any) -> None:
    server.start()
    server.upgrade(kills="server", pid=server.pid, sleeps=0.5)
    server.wait_for((server.folder / "asleep").exists)
    server.status = server.wait()
    assert server.status == -signal.SIGKILL
    server.wait_for(lambda: not programs(server.folder))
    assert programs(server.folder) == []


def programs(folder: Path) -> list[int]:
    """Processes of the new program."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder / "program").encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_ledger_of_another_layout(server: Any) -> None:
    server.start(max_connections=4)
    busy = [server.connect() for _ in range(3)]
    for client in busy:
        client.ask("busy")
    upgraded(server, layout=2)
    assert "The new workers count anew: the old program's ledger does not fit" in server.log()
    client = server.connect()
    server.wait_for(lambda: int(client.ask("total")) == len(server.clients))
    server.wait_for(lambda: client.ask("active") == "4")  # those of the old program count too
    busy.pop().close()
    server.wait_for(lambda: client.ask("active") == "3")
    upgraded(server, 2, layout=2)
    client = server.connect()
    server.wait_for(lambda: int(client.ask("total")) == len(server.clients))
    server.wait_for(lambda: client.ask("active") == "3")
    upgraded(server, 3)
    last = server.connect()
    server.wait_for(lambda: int(last.ask("total")) == len(server.clients))
    for client in busy:
        assert client.ask("still there?").startswith(client.pid)
        client.ask("done")
    assert server.stop() == 0
