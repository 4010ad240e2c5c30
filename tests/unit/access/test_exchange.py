"""Whole exchanges against a store: SCRAM and tokens end in an account, or fail slowly and alike."""

from base64 import b64encode

import pytest

from clock import Clock
from pillarbox.access import passwords
from pillarbox.access.authenticate import Authenticator, Identity
from pillarbox.access.bearer import make_token, token_hash
from pillarbox.access.exchange import Channel, Exchange, offered
from pillarbox.access.ledger import Field, Ledger
from pillarbox.access.sasl import Challenge, Failure
from pillarbox.store import directory, tokens
from pillarbox.store.opening import open_store
from scram_client import ScramClient

BINDINGS = {"tls-server-end-point": b"hash"}


class House:
    def __init__(self, store, clock, slot):
        self.store, self.clock, self.slot = store, clock, slot
        self.authenticator = Authenticator(store, None, slot, clock=clock, sleep=clock.sleep)

    def exchange(self, mechanism="SCRAM-SHA-256", bindings=None, protocol="smtp", addresses=()):
        channel = Channel(bindings or {}, tuple(addresses))
        return Exchange(self.authenticator, mechanism, offered(channel), channel, protocol=protocol)

    async def user(self, name):
        return await self.store.read(directory.user, name)

    async def settled(self):
        """What was written and not waited for is there."""
        await self.store.write(lambda tx: None)

    @property
    def failures(self):
        return self.slot.get(Field.AUTH_FAILURES)

    async def token(self, name, scope="", expires_at=None):
        token = make_token()
        user = await self.user(name)
        made = await self.store.write(tokens.add, user.id, token_hash(token), scope=scope, expires_at=expires_at)
        return token, made.id


@pytest.fixture
async def world(tmp_path):
    """A store with ada, whose password is never hashed here: SCRAM needs its keys alone."""
    store = await open_store(tmp_path / "smtp.db")
    for name in ("ada", "bob"):
        await store.write(directory.create_user, name, f"{name}@example.com", "!", passwords.scram_keys("secret"))
    yield House(store, Clock(1000.0), Ledger(1).attach(1))
    await store.close()


async def scram(house, name, password, mechanism="SCRAM-SHA-256", header="n,,", binding=b"", between=None, **options):
    exchange = house.exchange(mechanism, **options)
    client = ScramClient(password, name, header=header, binding=binding)
    challenge = await exchange.step(client.first())
    if not isinstance(challenge, Challenge):
        return challenge
    if between is not None:
        await between()
    outcome = await exchange.step(client.final(challenge.data))
    if isinstance(outcome, Challenge):
        assert outcome.data == b"v=" + b64encode(client.server_proof)
        outcome = await exchange.step(b"")
    return outcome


@pytest.mark.parametrize("name", ["ada", "ADA", "ada@example.com"])
async def test_who_knows_the_password_is_let_in_and_nothing_is_hashed(world, name):
    outcome = await scram(world, name, "secret")
    assert isinstance(outcome, Identity) and outcome.username == "ada"
    assert world.clock.now == 1000.0
    assert world.slot.get(Field.AUTH_SUCCESSES) == 1
    await world.settled()
    assert (await world.user("ada")).last_login is not None


async def test_plus(world):
    outcome = await scram(
        world, "ada", "secret", "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", b"hash", bindings=BINDINGS
    )
    assert isinstance(outcome, Identity)


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("nobody", "secret"), ("nobody@example.com", "")])
async def test_failures_are_alike(world, name, password):
    outcome = await scram(world, name, password)
    assert isinstance(outcome, Failure) and not outcome.syntax
    assert world.clock.now == 1001.0
    assert world.failures == 1


async def test_unknown_names_and_disabled_accounts_get_a_salt_that_stays(world):
    await world.store.write(directory.set_enabled, "bob", False)

    async def salt(name, authenticator=None):
        house = House(world.store, world.clock, world.slot)
        return (await house.exchange().step(f"n,,n={name},r=abc".encode())).data.partition(b",s=")[2]

    for name in ("nobody", "bob", "ada"):
        assert await salt(name) == await salt(name)
    assert await salt("nobody") == await salt("NOBODY") != await salt("nobody2")
    assert isinstance(await scram(world, "bob", "secret"), Failure)


async def test_an_account_that_changes_within_the_exchange_is_refused(world):
    async def disable():
        await world.store.write(directory.set_enabled, "ada", False)

    outcome = await scram(world, "ada", "secret", between=disable)
    assert isinstance(outcome, Failure) and world.failures == 1


async def test_a_downgrade_counts_as_a_failure(world):
    outcome = await scram(world, "ada", "secret", header="y,,", bindings=BINDINGS)
    assert isinstance(outcome, Failure) and not outcome.syntax
    assert world.failures == 1


async def test_malformed_messages_cost_nothing(world):
    outcome = await world.exchange().step(b"hello")
    assert isinstance(outcome, Failure) and outcome.syntax
    assert world.failures == 0 and world.clock.now == 1000.0


def bearer(token, user=""):
    return f"n,{f'a={user}' if user else ''},\x01auth=Bearer {token}\x01\x01".encode()


def xoauth2(token, user="ada"):
    return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()


@pytest.mark.parametrize("user", ["", "ada", "Ada@example.com"])
async def test_a_token_lets_in(world, user):
    token, token_id = await world.token("ada", "smtp imap")
    outcome = await world.exchange("OAUTHBEARER").step(bearer(token, user))
    assert isinstance(outcome, Identity) and (outcome.username, outcome.token_id) == ("ada", token_id)
    assert isinstance(await world.exchange("XOAUTH2").step(xoauth2(token)), Identity)
    await world.settled()
    assert (await world.store.read(tokens.tokens, outcome.user_id))[0].last_used_at is not None


@pytest.mark.parametrize(
    ("scope", "protocol", "user", "error"),
    [
        ("imap", "smtp", "", b"insufficient_scope"),
        ("", "smtp", "bob", b"invalid_token"),
        ("", "smtp", "nobody", b"invalid_token"),
    ],
)
async def test_a_token_that_is_not_good_is_told_by_a_challenge_and_counted_once(world, scope, protocol, user, error):
    token, _ = await world.token("ada", scope)
    exchange = world.exchange("OAUTHBEARER", protocol=protocol)
    outcome = await exchange.step(bearer(token, user))
    assert isinstance(outcome, Challenge)
    assert b'"status":"' + error in outcome.data
    outcome = await exchange.step(b"\x01")
    assert isinstance(outcome, Failure) and not outcome.syntax
    assert world.failures == 1 and world.clock.now == 1001.0


async def test_expired_revoked_and_made_up_tokens(world):
    expired, _ = await world.token("ada", expires_at=1)
    revoked, token_id = await world.token("ada")
    identity = await world.exchange("OAUTHBEARER").step(bearer(revoked))
    assert await world.authenticator.outdated([identity]) == []
    await world.store.write(tokens.revoke, token_id)
    assert await world.authenticator.outdated([identity]) == [identity]
    for token in (expired, revoked, "made-up"):
        assert isinstance(await world.exchange("XOAUTH2").step(xoauth2(token)), Challenge)


async def test_a_disabled_account_has_no_good_token(world):
    token, _ = await world.token("ada")
    await world.store.write(directory.set_enabled, "ada", False)
    assert isinstance(await world.exchange("OAUTHBEARER").step(bearer(token)), Challenge)
    assert world.failures == 1


@pytest.mark.parametrize(
    ("addresses", "name", "account"),
    [
        (["ada@example.com"], "", "ada"),
        (["ADA@example.com", "ada"], "", "ada"),
        (["ada@example.com"], "ada", "ada"),
        (["ada@example.com", "bob@example.com"], "bob@example.com", "bob"),
        (["ada@example.com", "gone@example.com"], "", "ada"),
        (["ada@example.com", "bob@example.com"], "", None),
        (["ada@example.com"], "bob", None),
        (["ada@example.com"], "nobody", None),
        (["ada+x@example.com"], "", None),
        (["gone@example.com"], "", None),
    ],
)
async def test_a_certificate_lets_in_whose_address_it_has(world, addresses, name, account):
    exchange = world.exchange("EXTERNAL", addresses=addresses)
    assert await exchange.step(None) == Challenge(b"")
    outcome = await exchange.step(name.encode())
    if account is None:
        assert isinstance(outcome, Failure) and not outcome.syntax
        assert world.failures == 1 and world.clock.now == 1001.0
    else:
        assert isinstance(outcome, Identity) and outcome.username == account
        assert world.slot.get(Field.AUTH_SUCCESSES) == 1
        await world.settled()
        assert (await world.user(account)).last_login is not None


async def test_a_disabled_account_has_no_good_certificate(world):
    await world.store.write(directory.set_enabled, "ada", False)
    outcome = await world.exchange("EXTERNAL", addresses=["ada@example.com"]).step(b"")
    assert isinstance(outcome, Failure) and world.failures == 1
    both = world.exchange("EXTERNAL", addresses=["ada@example.com", "bob@example.com"])
    assert (await both.step(b"")).username == "bob"
