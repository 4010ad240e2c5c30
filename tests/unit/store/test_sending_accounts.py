"""What an account may send as, its tokens, what it has sent; lists; and that workers hear of each change."""

from collections.abc import Callable
from typing import Any

import pytest
from store_samples import Clock

from pillarbox.store import (
    DIRECTORY,
    Conflict,
    Invalid,
    NotFound,
    Store,
    Tx,
    directory,
    lists,
    routes,
    senders,
    tokens,
    usage,
)
from pillarbox.store.records import Usage, User

HASH = "ab" * 32


async def test_grants(store: Store, alice: User, bob: User) -> None:
    await store.write(senders.grant, alice.id, "Office@Example.com")
    await store.write(senders.grant, alice.id, "@Example.ORG")
    await store.write(senders.grant, bob.id, "bob2@example.com")
    for address, granted in (
        ("office@example.com", True),
        ("OFFICE@EXAMPLE.COM", True),
        ("anybody@example.org", True),
        ("anybody@sub.example.org", False),
        ("bob2@example.com", False),
    ):
        assert await store.read(senders.is_granted, alice.id, address) is granted
    assert [grant.address for grant in await store.read(senders.grants, alice.id)] == [
        "@example.org",
        "office@example.com",
    ]
    assert len(await store.read(senders.grants)) == 3
    with pytest.raises(Conflict):
        await store.write(senders.grant, alice.id, "office@EXAMPLE.com")
    with pytest.raises(NotFound):
        await store.write(senders.grant, 999, "a@b.c")
    for address in ("nobody", "@", "@a b", ""):
        with pytest.raises(Invalid):
            await store.write(senders.grant, alice.id, address)
    await store.write(senders.revoke, alice.id, "@example.org")
    with pytest.raises(NotFound):
        await store.write(senders.revoke, alice.id, "@example.org")
    assert not await store.read(senders.is_granted, alice.id, "anybody@example.org")


async def test_tokens(store: Store, alice: User, clock: Clock) -> None:
    token = await store.write(tokens.add, alice.id, HASH, name="laptop", scope="smtp", expires_at=clock.now + 100)
    ever = await store.write(tokens.add, alice.id, "cd" * 32, expires_at=None)
    assert await store.read(tokens.find, HASH) == token
    assert await store.read(tokens.find, "00" * 32) is None
    with pytest.raises(Conflict):
        await store.write(tokens.add, alice.id, HASH, expires_at=None)
    with pytest.raises(NotFound):
        await store.write(tokens.add, 999, "ef" * 32, expires_at=None)
    await store.write(tokens.used, token.id)
    found = await store.read(tokens.find, HASH)
    assert found is not None
    assert found.last_used_at == clock.now
    clock.now += 100
    assert await store.read(tokens.find, HASH) is None
    assert [one.id for one in await store.read(tokens.tokens, alice.id)] == [token.id, ever.id]
    clock.now += tokens.KEPT + 1
    assert await store.write(tokens.trim) == 1
    await store.write(tokens.revoke, ever.id)
    assert await store.read(tokens.tokens) == []
    with pytest.raises(NotFound):
        await store.write(tokens.revoke, ever.id)


async def test_usage(store: Store, alice: User, bob: User, clock: Clock) -> None:
    clock.now -= clock.now % usage.HOUR
    assert await store.read(usage.totals, alice.id) == Usage()
    assert await store.write(usage.add, alice.id, ["A@x.org", "a@X.org", "b@x.org"]) == Usage(1, 3, 2, 1, 3, 2)
    assert await store.write(usage.add, bob.id, ["a@x.org"]) == Usage(1, 1, 1, 1, 1, 1)
    clock.now += usage.HOUR
    assert await store.read(usage.unknown, alice.id, ["a@x.org", "c@x.org", "C@x.org"]) == 1
    assert await store.write(usage.add, alice.id, ["a@x.org", "c@x.org"]) == Usage(1, 2, 1, 2, 5, 3)
    assert [entry[1:] for entry in await store.read(usage.hours, alice.id)] == [(1, 3), (1, 2)]
    clock.now += 23 * usage.HOUR
    assert await store.read(usage.totals, alice.id) == Usage(0, 0, 0, 1, 2, 1)
    assert await store.write(usage.add, alice.id, ["not an address"], messages=0) == Usage(0, 1, 1, 1, 3, 2)
    assert await store.write(usage.trim) == 0
    clock.now += usage.KEPT
    assert await store.write(usage.trim, 2) == 2
    assert await store.read(usage.unknown, alice.id, ["a@x.org", "b@x.org"]) == 0
    await store.write(usage.forget, alice.id)
    assert await store.read(usage.totals, alice.id) == Usage()


async def test_recipients_are_forgotten_in_the_end(store: Store, alice: User, clock: Clock) -> None:
    await store.write(usage.add, alice.id, ["old@x.org", "kept@x.org"])
    clock.now += usage.KNOWN
    await store.write(usage.add, alice.id, ["kept@x.org"])
    assert await store.scan(usage.long_known) == []
    clock.now += 1
    assert await store.scan(usage.long_known) == [alice.id]
    assert await store.write(usage.trim_known, alice.id) == 1
    assert await store.read(usage.unknown, alice.id, ["old@x.org", "kept@x.org"]) == 1


async def test_lists(store: Store, alice: User) -> None:
    made = await store.write(lists.create_list, "Team@Example.com", "Alice@example.com", title="The team")
    assert (made.address, made.owner, made.posting) == ("team@example.com", "alice@example.com", "members")
    assert await store.write(lists.add_members, "team@example.com", ["B@x.org", "a@x.org", "b@X.org"]) == 2
    assert await store.write(lists.add_members, "team@example.com", ["a@x.org", "c@x.org"]) == 1
    assert await store.read(lists.members, "team@example.com", 2) == ["a@x.org", "b@x.org"]
    assert await store.read(lists.members, "team@example.com", 2, "b@x.org") == ["c@x.org"]
    await store.write(lists.remove_member, "team@example.com", "A@x.org")
    with pytest.raises(NotFound):
        await store.write(lists.remove_member, "team@example.com", "a@x.org")
    changed = await store.write(lists.set_list, "team@example.com", posting="owner", owner="b@x.org")
    assert (changed.posting, changed.owner, changed.title) == ("owner", "b@x.org", "The team")
    for wrong in ({"posting": "nobody"}, {"title": "two\r\nlines"}, {"owner": "nobody"}):
        with pytest.raises(Invalid):
            await store.write(lists.set_list, "team@example.com", **wrong)
    with pytest.raises(Invalid):
        await store.write(lists.add_members, "team@example.com", ["team@example.com"])
    await store.write(directory.add_alias, "sales@example.com", "alice@example.com")
    for taken in ("team@example.com", "alice@example.com", "sales@example.com"):
        with pytest.raises(Conflict):
            await store.write(lists.create_list, taken, "alice@example.com")
    assert await store.read(lists.lists) == [changed]
    await store.write(lists.delete_list, "team@example.com")
    with pytest.raises(NotFound):
        await store.read(lists.list_of, "team@example.com")


async def test_an_account_takes_what_is_its_own_with_it(store: Store, alice: User) -> None:
    await store.write(senders.grant, alice.id, "@example.org")
    await store.write(tokens.add, alice.id, HASH, expires_at=None)
    await store.write(usage.add, alice.id, ["a@x.org"])
    await store.write(directory.delete_user, "alice")

    def left(tx: Tx) -> list[Any]:
        tables = ("sender_grants", "tokens", "sending_usage", "known_recipients")
        return [tx.row(f"SELECT count(*) FROM {table}") for table in tables]

    assert await store.read(left) == [(0,)] * 4


CHANGES: list[Callable[[Tx, int], object]] = [
    lambda tx, _: routes.create_route(tx, "r", "mx"),
    lambda tx, _: routes.set_route(tx, "r", tls="never"),
    lambda tx, _: routes.add_rule(tx, "recipient", "x.org", "r"),
    lambda tx, _: routes.remove_rule(tx, "recipient", "x.org"),
    lambda tx, _: routes.delete_route(tx, "r"),
    lambda tx, _: lists.create_list(tx, "l@example.com", "a@example.com"),
    lambda tx, _: lists.add_members(tx, "l@example.com", ["m@example.com"]),
    lambda tx, _: lists.remove_member(tx, "l@example.com", "m@example.com"),
    lambda tx, _: lists.delete_list(tx, "l@example.com"),
    lambda tx, user_id: senders.grant(tx, user_id, "@example.org"),
    lambda tx, user_id: senders.revoke(tx, user_id, "@example.org"),
    lambda tx, user_id: tokens.add(tx, user_id, HASH, expires_at=None),
    lambda tx, _: tokens.revoke(tx, tokens.tokens(tx)[0].id),
    lambda tx, user_id: senders.hold(tx, user_id, "why"),
    lambda tx, user_id: senders.release(tx, user_id),
]


async def test_each_change_is_one_of_the_directory(store: Store, alice: User) -> None:
    """For this worker by the touch, for all others by the version, which triggers advance."""
    version = "SELECT value FROM store_counters WHERE id = 3"
    told: list[object] = []
    store.on_commit(lambda touched: told.append(DIRECTORY in touched))
    for number, change in enumerate(CHANGES):
        (before,) = await store.read(lambda tx: tx.row(version) or ())
        await store.write(change, alice.id)
        (after,) = await store.read(lambda tx: tx.row(version) or ())
        assert after > before, number
    assert told == [True] * len(CHANGES)


async def test_what_mail_writes_is_no_change_of_the_directory(store: Store, alice: User) -> None:
    version = "SELECT value FROM store_counters WHERE id = 3"
    token = await store.write(tokens.add, alice.id, HASH, expires_at=None)
    before = await store.read(lambda tx: tx.row(version))
    await store.write(tokens.used, token.id)
    await store.write(usage.add, alice.id, ["a@x.org"])
    assert await store.read(lambda tx: tx.row(version)) == before
