"""The smaller parts of the server: children, orders and reports, hints, reload differences, backoff, the pulse."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox import cores
from pillarbox.access.ledger import Field, Ledger
from pillarbox.config import Settings
from pillarbox.server import control, hints, reload
from pillarbox.server.children import ChildFailed, in_child
from pillarbox.server.crew import Backoff
from pillarbox.server.preparation import StartError, find_user, worker_count
from pillarbox.server.privileges import NoSuchUser, account, drop
from pillarbox.server.worker import Pulse


def test_work_in_a_child() -> None:
    assert in_child(lambda: {"pid": os.getpid(), "bytes": b"x" * 100_000})["pid"] != os.getpid()
    with pytest.raises(ChildFailed, match="ValueError: why"):
        in_child(lambda: (_ for _ in ()).throw(ValueError("why")))
    with pytest.raises(ChildFailed, match="exit code 7"):
        in_child(lambda: os._exit(7))
    with pytest.raises(ChildFailed, match="SIGKILL"):
        in_child(lambda: os.kill(os.getpid(), 9))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_becoming_another_user() -> None:
    nobody = account("nobody")
    ids = in_child(lambda: [*os.getresuid(), *os.getresgid(), *os.getgroups()], nobody)
    assert set(ids[:3]) == {pwd.getpwnam("nobody").pw_uid} and 0 not in ids
    assert find_user("nobody") == nobody and find_user(None) is None
    with pytest.raises(StartError, match="no account 'no-such-user'"):
        find_user("no-such-user")


def test_accounts() -> None:
    assert account(pwd.getpwuid(os.getuid()).pw_name).uid == os.getuid()
    with pytest.raises(NoSuchUser):
        account("no-such-user")
    drop(None)
    assert os.getuid() == os.geteuid()


def test_orders_go_down_with_settings_and_a_descriptor(tmp_path: Path) -> None:
    ours, theirs = control.pair()
    with pytest.raises(BlockingIOError):
        control.receive_order(theirs)
    settings = Settings.of("production", hostname="mx.test", proxy_networks=())
    with (tmp_path / "log").open("wb") as file:
        assert control.order(ours, control.Reload.of(settings, b"pem" * 5000), file.fileno())
    assert control.order(ours, control.Drain(10.0, True))
    got = control.receive_order(theirs)
    assert isinstance(got, control.Reload) and got.pem == b"pem" * 5000
    assert got.settings.hostname == "mx.test" and got.settings.explicit("SMTP_HOSTNAME")
    os.write(got.log_file, b"line")
    os.close(got.log_file)
    assert (tmp_path / "log").read_bytes() == b"line"
    assert control.receive_order(theirs) == control.Drain(10.0, True)
    ours.close()
    assert control.receive_order(theirs) is None
    theirs.close()


def test_reports_go_up_and_nonsense_is_no_report() -> None:
    ours, theirs = control.pair()
    assert control.receive_report(ours) is None
    control.report(theirs, control.Report("failed", "why"))
    control.report(theirs, control.Report("left", count=3))
    assert control.receive_report(ours) == control.Report("failed", "why")
    assert control.receive_report(ours) == control.Report("left", "", 3)
    theirs.send(b"\x80nonsense")
    assert control.receive_report(ours) is None
    theirs.close()
    assert control.receive_report(ours) is None
    assert not control.order(ours, control.Drain(1, False))
    control.report(theirs, control.Report("ready"))
    ours.close()


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=20))
def test_hints_on_the_wire(pairs: list[tuple[int, int]]) -> None:
    assert hints.decode(hints.encode(pairs)) == pairs


def test_hints_that_say_look_at_everything() -> None:
    assert hints.encode([(1, n) for n in range(hints.MOST + 1)]) == b""
    assert hints.decode(b"") == hints.decode(b"odd") == []


async def test_hints_are_collected_and_reach_all_but_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets, ledger = hints.Sockets(4), Ledger(3)
    heard: dict[int, list[list[hints.Pair]]] = {n: [] for n in (1, 2, 3)}
    ends = {n: hints.Hints(sockets, ledger, n, heard[n].append) for n in (1, 2, 3)}
    for n in (1, 2):
        ledger.attach(n)
        ends[n].start()
    ends[1].tell([(1, 1), (1, 2)])
    ends[1].tell([(1, 2), (1, 3)])
    for _ in range(10):
        await asyncio.sleep(0)
    assert heard == {1: [], 2: [[(1, 1), (1, 2), (1, 3)]], 3: []}
    monkeypatch.setattr(hints, "SPACING", 0.0)
    ends[1].tell([(1, n) for n in range(hints.MOST + 1)])
    ends[1].tell([(2, 2)])
    for _ in range(10):
        await asyncio.sleep(0)
    assert heard[2][1:] == [[]]
    ends[2].stop()
    for n in range(1000):  # nobody reads: hints are lost, nothing else
        ends[1].tell([(1, n)])
        await asyncio.sleep(0)
    assert len(heard[2]) == 2
    ends[1].stop()
    sockets.close()


async def test_hints_of_the_directory_wait_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "SPACING", 3600.0)
    sockets, ledger = hints.Sockets(3), Ledger(2)
    heard: list[list[hints.Pair]] = []
    ends = {n: hints.Hints(sockets, ledger, n, heard.append) for n in (1, 2)}
    for n in (1, 2):
        ledger.attach(n)
        ends[n].start()
    ends[1]._told = asyncio.get_running_loop().time()  # a moment ago
    for pairs in ([(1, 1)], [(1, 2)], [(0, 0)], [(0, 0)], [(1, 3)]):
        ends[1].tell(pairs)
        for _ in range(10):
            await asyncio.sleep(0)
    assert heard == [[(1, 1), (1, 2), (0, 0)], [(0, 0)]]
    ends[1].stop()  # says what it has not said yet
    for _ in range(10):
        await asyncio.sleep(0)
    assert heard[2:] == [[(1, 3)]]
    ends[2].stop()
    sockets.close()


def test_differences_of_settings() -> None:
    old = Settings.of("testing", hostname="a.test", webhook_url=None)
    new = Settings.of(
        "testing",
        hostname="b.test",
        webhook_url="https://x.test/secret",
        webhook_enabled=True,
        port=26,
        db_path=Path("/x/new.db"),
    )
    found = reload.changes(old, new)
    follows = ("runtime_dir", "sendmail_socket", "pickup_dir")
    assert [str(change) for change in found if change.setting.attribute not in follows] == [
        "Config change: port 0 -> 26",
        "Config change: hostname a.test -> b.test",
        "Config change: db_path smtp.db -> /x/new.db (requires restart)",
        "Config change: webhook_url *** -> ***",
        "Config change: webhook_enabled false -> true",
    ]
    kept = reload.effective(old, new, found)
    assert kept.db_path == old.db_path and kept.hostname == "b.test" and kept.port == 26
    assert reload.changes(new, new) == []


def test_config_env_is_read_again_although_systemd_put_it_into_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "config.env"
    file.write_text("SMTP_HOSTNAME=one.test\nSMTP_MAX_CONNECTIONS=7\n")
    environ = {"SMTP_HOSTNAME": "one.test", "SMTP_MAX_CONNECTIONS": "8", "SMTP_PORT": "0"}
    load = reload.loader({"SMTP_IMAP_PORT": "0"}, environ, str(file))
    file.write_text("SMTP_HOSTNAME=two.test\nSMTP_MAX_CONNECTIONS=9\n")
    settings = load().settings
    assert settings.hostname == "two.test"
    assert settings.max_connections == 8  # the environment said something else, and goes on to win
    assert settings.imap_port == 0
    assert reload.loader({}, environ, str(tmp_path / "none"))().settings.hostname == "one.test"


def test_replacing_a_worker_that_keeps_dying_takes_longer_and_longer() -> None:
    backoff = Backoff()
    waits = [backoff.died(0, served=None) for _ in range(12)]
    assert waits[0] == 0 and waits[1] > 0 and waits == sorted(waits) and waits[-1] == 30
    assert backoff.died(1, served=None) == 0 and backoff.deaths(0) == 12
    assert backoff.died(0, served=60) == 0 and backoff.deaths(0) == 0
    assert 0 < backoff.died(0, served=0.1) < 1
    assert backoff.died(0, served=None) == 0 and backoff.deaths(0) == 1


def test_the_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: 3)
    assert [worker_count(Settings.of(worker_threads=n)) for n in (1, 3, 16)] == [1, 3, 3]


async def test_the_pulse_measures_lateness() -> None:
    slot = Ledger(1).attach(1)
    pulse = Pulse(asyncio.get_running_loop(), slot)
    begin = asyncio.get_running_loop().time()
    pulse.observe(0.001, begin + 0)
    pulse.observe(0.2, begin + 1)
    pulse.observe(0.002, begin + 2)
    assert slot.get(Field.LOOP_LAG_US) == 2000
    assert slot.get(Field.LOOP_LAG_MAX_US) == 200_000
    assert slot.get(Field.LOOP_STALLS) == 1
    assert slot.get(Field.HEARTBEAT_MS) > 0
    pulse.observe(0.001, begin + 40)
    assert slot.get(Field.LOOP_LAG_MAX_US) == 200_000
    pulse.observe(0.001, begin + 80)
    pulse.observe(0.001, begin + 120)
    assert slot.get(Field.LOOP_LAG_MAX_US) == 1000
    pulse.stop()
