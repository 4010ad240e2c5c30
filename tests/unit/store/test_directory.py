"""Accounts, domains and aliases."""

import pytest
from store_samples import Clock

from pillarbox.store import DIRECTORY, Conflict, Invalid, NotFound, Store, Touched, directory
from pillarbox.store.records import User


async def test_a_user_is_found_by_username_and_address_in_any_case(store: Store) -> None:
    made = await store.write(directory.create_user, "Admin@Example.com", "Root@EXAMPLE.com", "h", "s", role="admin")
    assert (made.username, made.email, made.enabled, made.role) == (
        "Admin@Example.com",
        "Root@example.com",
        True,
        "admin",
    )
    for name in ("admin@example.COM", "root@example.com", "ROOT@Example.Com"):
        assert await store.read(directory.user, name) == made
    for name in ("admin", "root", "", "@", "nobody@example.com"):
        assert await store.read(directory.user, name) is None


async def test_names_are_unique(store: Store, alice: User) -> None:
    for username, email in (
        ("ALICE", "other@example.com"),
        ("other", "Alice@Example.com"),
        ("alice@example.com", "other@example.com"),
    ):
        with pytest.raises(Conflict):
            await store.write(directory.create_user, username, email, "h")
    await store.write(directory.create_user, "carol@example.com", "carol@example.com", "h")
    with pytest.raises(Conflict):
        await store.write(directory.create_user, "x", "carol@example.com", "h")


async def test_bad_names(store: Store) -> None:
    for username, email in (("", "a@b"), ("a\nb", "a@b"), ("a", "a"), ("a", "@b"), ("a", "a b@c"), ("a", "a@")):
        with pytest.raises(Invalid):
            await store.write(directory.create_user, username, email, "h")


async def test_international_domains_have_one_spelling(store: Store) -> None:
    made = await store.write(directory.create_user, "u", "u@Bücher.example", "h")
    assert made.email == "u@xn--bcher-kva.example"
    assert await store.read(directory.user, "u@BÜCHER.example") == made


async def test_credentials_version_grows_when_logins_must_end(store: Store, alice: User, clock: Clock) -> None:
    clock.now += 5
    await store.write(directory.set_password, "alice", "new", "scram2")
    await store.write(directory.set_enabled, "alice@example.com", False)
    after = await store.read(directory.get_user, alice.id)
    assert (after.password_hash, after.scram_sha256, after.enabled) == ("new", "scram2", False)
    assert after.credentials_version == alice.credentials_version + 2
    assert after.updated_at == alice.updated_at + 5


async def test_a_better_hash_ends_no_login(store: Store, alice: User) -> None:
    assert await store.write(directory.upgrade_hash, alice.id, "hash", "better", "s")
    assert not await store.write(directory.upgrade_hash, alice.id, "hash", "worse", "s")
    after = await store.read(directory.get_user, alice.id)
    assert (after.password_hash, after.credentials_version) == ("better", alice.credentials_version)


async def test_other_settings(store: Store, alice: User, clock: Clock) -> None:
    await store.write(directory.set_quota, "alice", 1000)
    await store.write(directory.record_login, alice.id)
    after = await store.read(directory.get_user, alice.id)
    assert (after.quota_limit, after.role, after.last_login) == (1000, "user", clock.now)
    with pytest.raises(Invalid):
        await store.write(directory.set_quota, "alice", -1)
    with pytest.raises(NotFound):
        await store.write(directory.set_quota, "nobody", 1)


async def test_users_in_pages(store: Store) -> None:
    for name in ("b", "C", "a"):
        await store.write(directory.create_user, name, f"{name}@example.com", "h")
    first = await store.read(directory.users, 2)
    assert [user.username for user in first] == ["a", "b"]
    assert [user.username for user in await store.read(directory.users, 2, "b")] == ["C"]


async def test_a_deleted_user_is_gone_and_the_name_is_free(store: Store, alice: User) -> None:
    assert await store.write(directory.delete_user, "alice") == alice.id
    assert await store.read(directory.user, "alice") is None
    again = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    assert again.id != alice.id
    with pytest.raises(NotFound):
        await store.write(directory.delete_user, "nobody")


async def test_domains(store: Store) -> None:
    made = await store.write(directory.create_domain, "Example.COM.", "all@example.net")
    assert (made.name, made.enabled, made.catch_all) == ("example.com", True, "all@example.net")
    with pytest.raises(Conflict):
        await store.write(directory.create_domain, "example.com")
    changed = await store.write(directory.set_domain, "example.com", enabled=False, catch_all="")
    assert (changed.enabled, changed.catch_all) == (False, None)
    assert await store.read(directory.domains) == [changed]
    await store.write(directory.delete_domain, "example.com")
    with pytest.raises(NotFound):
        await store.write(directory.delete_domain, "example.com")
    for name in ("", "a b", "a@b", "a..b", "-a.b", "a-.b", "a/b.c", "a.b:25", f"{'a' * 64}.b", "[", ".a"):
        with pytest.raises(Invalid):
            await store.write(directory.create_domain, name)
        if "@" not in name:
            with pytest.raises(Invalid):
                await store.write(directory.create_user, f"u@{name}", f"u@{name}", "h")
            with pytest.raises(Invalid):
                await store.write(directory.add_alias, f"u@{name}", "a@b")
    for name, key in (("B\u00fccher.example", "xn--bcher-kva.example"), ("[192.0.2.1]", "[192.0.2.1]"), ("x_1", "x_1")):
        assert (await store.write(directory.create_domain, name)).name == key


async def test_aliases(store: Store) -> None:
    made = await store.write(directory.add_alias, "Info@Example.com", "Alice@example.COM")
    assert (made.address, made.target) == ("info@example.com", "alice@example.com")
    await store.write(directory.add_alias, "info@example.com", "bob@example.com")
    with pytest.raises(Conflict):
        await store.write(directory.add_alias, "info@example.com", "bob@example.com")
    with pytest.raises(Invalid):
        await store.write(directory.add_alias, "a@example.com", "A@example.com")
    assert [a.target for a in await store.read(directory.aliases, "info@example.com")] == [
        "alice@example.com",
        "bob@example.com",
    ]
    assert await store.write(directory.remove_alias, "info@example.com", "bob@example.com") == 1
    assert await store.write(directory.remove_alias, "info@example.com") == 1
    assert await store.read(directory.aliases) == []
    with pytest.raises(NotFound):
        await store.write(directory.remove_alias, "info@example.com")


async def test_changes_are_told_to_watchers(store: Store, alice: User) -> None:
    told: list[frozenset[Touched]] = []
    store.on_commit(told.append)
    await store.write(directory.set_password, "alice", "new", "s")
    assert told == [frozenset({DIRECTORY, Touched(alice.id, 0)})]
