"""Names and passwords against a fake directory; argon2 with cheap parameters."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from argon2 import PasswordHasher

from clock import Clock
from pillarbox.access import authenticate as module
from pillarbox.access import passwords
from pillarbox.access.authenticate import Authenticator, Identity, TemporaryFailure
from pillarbox.access.ledger import Field, Ledger
from pillarbox.access.passwords import TemporarilyUnavailable
from pillarbox.store import directory
from pillarbox.store.errors import Busy
from pillarbox.store.opening import open_store

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Gate:
    """Runs what it is given at once and counts."""

    runs: int = 0
    closed: bool = False
    peers: list = field(default_factory=list)

    async def run(self, work, peer=""):
        if self.closed:
            raise TemporarilyUnavailable("full")
        self.runs += 1
        self.peers.append(peer)
        return work()


@pytest.fixture
async def world(tmp_path, monkeypatch):
    """(authenticator, store, gate, clock, slot) with the account ada, whose hash needs no renewal."""
    monkeypatch.setattr(passwords, "_HASHER", CHEAP)
    monkeypatch.setattr(passwords, "PLACEHOLDER", CHEAP.hash("nobody's"))
    store = await open_store(tmp_path / "smtp.db")
    await store.write(directory.create_user, "ada", "ada@example.com", *passwords.hash_password("secret"))
    gate, clock, slot = Gate(), Clock(1000.0), Ledger(1).attach(1)
    authenticator = Authenticator(store, gate, slot, clock=clock, sleep=clock.sleep)
    store.on_commit(authenticator.changed)
    yield authenticator, store, gate, clock, slot
    await store.close()


@pytest.mark.parametrize("name", ["ada", "ADA", "ada@example.com", "ada@EXAMPLE.com"])
async def test_the_username_and_the_address_are_both_names(world, name):
    authenticator, *_, slot = world
    identity = await authenticator.check(name, "secret")
    assert (identity.username, identity.email) == ("ada", "ada@example.com")
    assert slot.get(Field.AUTH_SUCCESSES) == 1


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong"), ("nobody", "secret"), ("nobody@example.com", "x"), ("ada\0", "secret")]
)
async def test_a_failure_takes_a_second_whatever_is_wrong(world, name, password):
    authenticator, _, gate, clock, slot = world
    assert await authenticator.check(name, password, "192.0.2.1") is None
    assert clock.now == 1001.0
    assert slot.get(Field.AUTH_FAILURES) == 1
    assert gate.runs == (0 if "\0" in name else 1), "an unknown user costs a hash too"


async def test_a_right_password_is_remembered_for_a_minute(world):
    authenticator, _, gate, clock, _ = world
    await authenticator.check("ada", "secret")
    clock.now += 59
    assert await authenticator.check("ada", "secret")
    assert gate.runs == 1
    clock.now += 2
    assert await authenticator.check("ada", "secret")
    assert gate.runs == 2


async def test_a_wrong_password_is_hashed_every_time(world):
    authenticator, _, gate, _, _ = world
    await authenticator.check("ada", "secret")
    for _ in range(3):
        assert await authenticator.check("ada", "Secret") is None
    assert gate.runs == 4


@pytest.mark.parametrize(("password", "right"), [("secret", True), ("wrong", False)])
async def test_the_same_password_asked_many_times_at_once_is_hashed_once(world, password, right):
    authenticator, _, gate, *_ = world
    everybody = asyncio.Barrier(2)
    run = gate.run

    async def slow_run(work, peer=""):
        await everybody.wait()
        return await run(work, peer)

    gate.run = slow_run
    asked = [asyncio.ensure_future(authenticator.check("ada", password, "192.0.2.1")) for _ in range(12)]
    await everybody.wait()
    assert [identity is not None for identity in await asyncio.gather(*asked)] == [right] * 12
    assert gate.runs == 1
    assert not authenticator._checking


async def test_a_changed_password_ends_what_was_remembered_at_once(world):
    authenticator, store, *_ = world
    identity = await authenticator.check("ada", "secret")
    await store.write(directory.set_password, "ada", *passwords.hash_password("other"))
    assert await authenticator.check("ada", "secret") is None
    assert await authenticator.check("ada", "other")
    assert await authenticator.outdated([identity]) == [identity]


async def test_the_account_is_read_again_only_after_a_change_of_the_directory(world, monkeypatch):
    authenticator, store, gate, *_ = world
    reads, read = [], store.read
    monkeypatch.setattr(store, "read", lambda *asked: reads.append(asked) or read(*asked))
    identity = await authenticator.check("ada", "secret")
    assert await authenticator.check("ada", "secret") == identity
    assert len(reads) == 1
    await store.write(directory.create_user, "bob", "bob@example.com", *passwords.hash_password("other"))
    for _ in range(2):
        assert await authenticator.check("ada", "secret") == identity
    assert (len(reads), gate.runs) == (2, 1)


async def test_a_password_that_another_process_changes_ends_with_the_news(world, tmp_path):
    authenticator, store, *_ = world
    store.notice_changes([])
    assert await authenticator.check("ada", "secret")
    other = await open_store(tmp_path / "smtp.db")
    await other.write(directory.set_password, "ada", *passwords.hash_password("other"))
    await other.close()
    store.notice_changes([])  # once a second
    assert await authenticator.check("ada", "secret") is None


async def test_a_password_that_changes_while_the_old_one_is_hashed_is_not_remembered(world):
    authenticator, store, gate, *_ = world
    run = gate.run

    async def slow_run(work, peer=""):
        await store.write(directory.set_password, "ada", *passwords.hash_password("other"))
        return await run(work, peer)

    gate.run = slow_run
    await authenticator.check("ada", "secret")  # was right when it was read; the session ends with the news
    gate.run = run
    assert await authenticator.check("ada", "secret") is None


async def test_a_disabled_account_is_out_at_once(world):
    authenticator, store, *_ = world
    identity = await authenticator.check("ada", "secret")
    assert await authenticator.outdated([identity]) == []
    await store.write(directory.set_enabled, "ada", False)
    assert await authenticator.check("ada", "secret") is None
    assert await authenticator.outdated([identity]) == [identity]
    await store.write(directory.delete_user, "ada")
    assert await authenticator.outdated([identity]) == [identity]


async def test_a_hash_with_other_parameters_is_renewed_and_nobody_is_logged_out(world, monkeypatch):
    authenticator, store, *_ = world
    identity = await authenticator.check("ada", "secret")
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    authenticator._remembered.clear()
    assert await authenticator.check("ada", "secret") == identity
    user = await store.read(directory.user, "ada")
    assert "t=2" in user.password_hash
    assert user.scram_sha256.startswith("SCRAM-SHA-256$4096:")
    assert await authenticator.outdated([identity]) == []


async def test_a_full_gate_or_a_store_that_is_busy_is_temporary_and_no_failure(world):
    authenticator, store, gate, clock, slot = world
    gate.closed = True
    with pytest.raises(TemporaryFailure):
        await authenticator.check("ada", "secret")

    async def busy(*args):
        raise Busy("locked")

    gate.closed, store.read = False, busy
    with pytest.raises(TemporaryFailure):
        await authenticator.check("ada", "secret")
    assert clock.now == 1000.0
    assert slot.get(Field.AUTH_FAILURES) == 0


async def test_what_is_remembered_is_bounded(world, monkeypatch):
    authenticator, *_ = world
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 3)
    identity = Identity(1, "ada", "ada@example.com", "user", 1)
    for number in range(10):
        authenticator._remember(bytes([number]), identity, 0)
    assert len(authenticator._remembered) <= 3


async def test_a_name_cannot_write_log_lines_of_its_own(world, capsys):
    authenticator, *_ = world
    with suppress(TemporaryFailure):
        await authenticator.check("eve\nAuthentication failed for user 'ada'", "x")
    assert all("eve" in line for line in capsys.readouterr().out.splitlines() if "Authentication failed" in line)
