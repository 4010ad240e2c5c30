"""Guessing from one address: slower, then banned, in every worker, and never from a listed network."""

import asyncio
from ipaddress import ip_network

import pytest

from pillarbox.access import authenticate
from pillarbox.access.authenticate import Authenticator
from pillarbox.access.bans import BanPolicy, Bans, network_of, told
from pillarbox.access.ledger import Ledger
from pillarbox.access.limits import Limiter
from pillarbox.store import bans, directory
from pillarbox.store.opening import open_store

NEVER = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))


class Clock:
    slept: list[float]

    def __init__(self):
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(round(seconds, 1))


class Gate:
    runs = 0

    async def run(self, work, peer=""):
        self.runs += 1
        return False


@pytest.fixture
async def store(tmp_path):
    made = await open_store(tmp_path / "smtp.db")
    await made.write(directory.create_user, "ada", "ada@example.com", "x")
    yield made
    await made.close()


def worker(store, slot, policy):
    made = Bans(store, Limiter(slot), lambda: policy)
    store.on_commit(made.changed)
    clock, gate = Clock(), Gate()
    return made, Authenticator(store, gate, None, made, clock=lambda: 0.0, sleep=clock.sleep), clock, gate


async def settled(store):
    await store.write(lambda tx: None)
    await asyncio.sleep(0.01)


async def test_failures_of_two_workers_end_in_a_ban(store):
    ledger = Ledger(2)
    policy = BanPolicy(6, 3600, NEVER)
    one, login, _, gate = worker(store, ledger.attach(1), policy)
    two, other, _, _ = worker(store, ledger.attach(2), policy)
    for n in range(3):
        assert await login.check("ada", f"wrong {n}", "192.0.2.7", "imap") is None
        assert await other.check("ada", f"guess {n}", "192.0.2.7", "pop3") is None
    await settled(store)
    (row,) = await store.read(bans.holding)
    assert (row.network, row.reason) == ("192.0.2.7", "6 failed logins, the last by pop3")
    for known in (one, two):
        assert known.of("192.0.2.7") is not None
        assert known.of("192.0.2.8") is None
    assert told(row).startswith("Your address is banned until 2")
    runs = gate.runs
    assert await login.check("ada", "right or wrong", "192.0.2.7", "imap") is None
    assert gate.runs == runs  # no password is looked at
    await store.write(bans.remove, "192.0.2.7")
    await settled(store)
    assert one.of("192.0.2.7") is two.of("192.0.2.7") is None


async def test_each_failure_takes_longer(store):
    _, login, clock, _ = worker(store, Ledger(1).attach(1), BanPolicy(20, 3600))
    for n in range(9):
        await login.check("ada", f"wrong {n}", "192.0.2.7")
    assert clock.slept == [1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]


async def test_the_same_wrong_password_counts_once(store):
    made, login, _, _ = worker(store, Ledger(1).attach(1), BanPolicy(2, 3600))
    for _ in range(5):
        await login.check("ada", "the old one", "192.0.2.7")
    assert made.of("192.0.2.7") is None
    await login.check("ada", "another", "192.0.2.7")
    assert made.of("192.0.2.7") is not None


async def test_guesses_that_others_have_made_count_too(store):
    """Many machines with one list of passwords."""
    made, login, _, _ = worker(store, Ledger(1).attach(1), BanPolicy(3, 3600, NEVER))
    for address in ("10.1.2.3", "192.0.2.7", "192.0.2.8", "2001:db8::1"):
        for n in range(3):
            await login.check("ada", f"wrong {n}", address)
        assert (made.of(address) is None) == (address == "10.1.2.3")


async def test_who_repeats_himself_is_remembered_among_many_who_guess(store, monkeypatch):
    monkeypatch.setattr(authenticate, "_MOST_REMEMBERED", 20)
    made, login, _, _ = worker(store, Ledger(1).attach(1), BanPolicy(2, 3600))
    for turn in range(6):
        await login.check("ada", "the old one", "192.0.2.7")
        for n in range(15):
            await login.check("ada", f"wrong {n}", f"198.51.100.{15 * turn + n}")
    assert made.of("192.0.2.7") is None


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1:2::5", "", "/run/x"])
async def test_a_listed_network_is_never_banned(store, address):
    made, login, _, _ = worker(store, Ledger(1).attach(1), BanPolicy(1, 3600, NEVER))
    await login.check("ada", "wrong", address)
    assert made.of(address) is None
    await settled(store)
    assert await store.read(bans.holding) == []
    if "." in address:
        await store.write(bans.ban, network_of(address), 3600, "by hand")
        assert made.of(address) is None


async def test_a_ban_ends_and_zero_bans_nobody(store):
    now = [0.0]
    made = Bans(store, Limiter(Ledger(1).attach(1)), lambda: BanPolicy(1, 60), clock=lambda: now[0])
    now[0] = 1000.0
    made.failed("2001:db8::1", "imap")
    assert made.of("2001:db8::ffff") is not None
    now[0] = 1061.0
    assert made.of("2001:db8::1") is None
    nobody = Bans(store, Limiter(Ledger(1).attach(1)), lambda: BanPolicy(0))
    assert nobody.failed("192.0.2.1", "imap") == 1.0
    assert nobody.of("192.0.2.1") is None
    await settled(store)


async def test_bans_of_before_are_known_after_a_start(store):
    await store.write(bans.ban, "2001:db8:0:1::/64", 3600, "guessing")
    made = Bans(store, Limiter(Ledger(1).attach(1)), lambda: BanPolicy(5))
    assert made.of("2001:db8:0:1:2:3:4:5").reason == "guessing"
