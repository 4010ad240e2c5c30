"""resolve: users, aliases, detail, catch-all, postmaster, and what is not ours."""

import pytest
from store_samples import START

from pillarbox.smtp.address import domain_key as smtp_domain_key
from pillarbox.store import Store, directory
from pillarbox.store.addresses import domain_key
from pillarbox.store.records import User
from pillarbox.store.resolution import is_local_domain, resolve


async def users_of(store: Store, local: str, domain: str = "example.com") -> list[str]:
    return [name for _, name in (await store.read(resolve, local, domain)).users]


async def test_a_user_makes_the_domain_ours(store: Store, alice: User) -> None:
    found = await store.read(resolve, "Alice", "EXAMPLE.com")
    assert (found.local_domain, found.users, found.forward, found.reason) == (True, [(alice.id, "alice")], [], "")
    assert (await store.read(resolve, "nobody", "example.com")).reason == "unknown user"
    elsewhere = await store.read(resolve, "alice", "example.org")
    assert (elsewhere.local_domain, elsewhere.reason) == (False, "not local")
    assert await store.read(is_local_domain, "example.com.")
    assert START > 0


async def test_a_disabled_user_takes_nothing(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.set_enabled, "alice", False)
    assert (await store.read(resolve, "alice", "example.com")).reason == "disabled"
    await store.write(directory.set_enabled, "bob", False)
    assert not (await store.read(resolve, "alice", "example.com")).local_domain


async def test_a_disabled_domain_is_not_ours(store: Store, alice: User) -> None:
    await store.write(directory.create_domain, "example.com")
    assert await users_of(store, "alice") == ["alice"]
    await store.write(directory.set_domain, "example.com", enabled=False)
    assert not (await store.read(resolve, "alice", "example.com")).local_domain


async def test_detail(store: Store, alice: User) -> None:
    assert await users_of(store, "alice+lists+x") == ["alice"]
    assert await users_of(store, "+x") == []
    await store.write(directory.create_user, "plus", "alice+vip@example.com", "h")
    assert await users_of(store, "alice+vip") == ["plus"]


async def test_aliases_lead_to_users_aliases_and_elsewhere(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.create_domain, "example.net")
    for address, target in (
        ("team@example.net", "info@example.com"),
        ("info@example.com", "alice@example.com"),
        ("info@example.com", "bob+team@example.com"),
        ("info@example.com", "friend@elsewhere.org"),
    ):
        await store.write(directory.add_alias, address, target)
    found = await store.read(resolve, "team", "example.net")
    assert sorted(name for _, name in found.users) == ["alice", "bob"]
    assert found.forward == ["friend@elsewhere.org"]


async def test_an_alias_stands_before_the_user_and_may_keep_a_copy(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.add_alias, "alice@example.com", "bob@example.com")
    assert await users_of(store, "alice") == ["bob"]
    await store.write(directory.add_alias, "alice@example.com", "alice@example.com")
    assert sorted(await users_of(store, "alice")) == ["alice", "bob"]


async def test_alias_loops_end(store: Store, alice: User) -> None:
    for number in range(30):
        await store.write(directory.add_alias, f"a{number}@example.com", f"a{(number + 1) % 30}@example.com")
    assert (await store.read(resolve, "a0", "example.com")).reason == "alias loop"
    await store.write(directory.add_alias, "x@example.com", "y@example.com")
    await store.write(directory.add_alias, "y@example.com", "x@example.com")
    assert (await store.read(resolve, "x", "example.com")).reason == "alias loop"


async def test_many_targets_are_bounded(store: Store, alice: User) -> None:
    def many(tx: object) -> None:
        for number in range(300):
            directory.add_alias(tx, "big@example.com", f"t{number}@elsewhere.org")  # type: ignore[arg-type]

    await store.write(many)
    assert len((await store.read(resolve, "big", "example.com")).forward) == 200


async def test_catch_all_comes_last(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.create_domain, "example.com", "bob@example.com")
    assert await users_of(store, "anybody") == ["bob"]
    assert await users_of(store, "alice+x") == ["alice"]


async def test_postmaster_is_always_somebody(store: Store, alice: User) -> None:
    await store.write(directory.create_domain, "example.net")
    assert await users_of(store, "PostMaster", "example.net") == ["alice"]
    await store.write(directory.create_user, "boss", "boss@example.com", "h", role="admin")
    assert await users_of(store, "postmaster", "example.net") == ["boss"]
    assert await users_of(store, "Postmaster", "") == ["boss"]
    await store.write(directory.add_alias, "postmaster@example.net", "friend@elsewhere.org")
    assert (await store.read(resolve, "postmaster", "example.net")).forward == ["friend@elsewhere.org"]
    assert not (await store.read(resolve, "postmaster", "elsewhere.org")).local_domain


async def test_postmaster_of_an_empty_server(store: Store) -> None:
    assert (await store.read(resolve, "postmaster", "")).reason == "nobody yet"


@pytest.mark.parametrize(
    ("name", "on_the_wire"),
    [
        ("straße.example", "xn--strae-oqa.example"),
        ("ΒΌΛΟΣ.example", "xn--nxasmq6b.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ],
)
async def test_an_international_domain_is_the_one_that_dns_has(store: Store, name: str, on_the_wire: str) -> None:
    user = await store.write(directory.create_user, "u", f"jo\u0308rg@{name}", "h")
    assert (await store.read(resolve, "j\u00f6rg", on_the_wire)).users == [(user.id, "u")]
    assert user.email == f"j\u00f6rg@{on_the_wire}"
    assert domain_key(name) == smtp_domain_key(name) == on_the_wire


async def test_a_sharp_s_is_not_the_neighbour_with_a_double_one(store: Store) -> None:
    await store.write(directory.create_user, "u", "u@straße.example", "h")
    assert not (await store.read(resolve, "u", "strasse.example")).local_domain
