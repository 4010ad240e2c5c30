"""Bans: made, longer the next time, lifted, forgotten."""

import pytest

from pillarbox.store import NotFound, Store, bans


async def test_a_ban_and_the_next_one(store: Store) -> None:
    made = await store.write(bans.ban, "192.0.2.1", 3600, "guessing")
    assert (made.network, made.reason, made.offences, made.expires_at - made.created_at) == (
        "192.0.2.1",
        "guessing",
        1,
        3600,
    )
    assert await store.write(bans.ban, "192.0.2.1", 60, "again") == made  # it holds already
    assert await store.read(bans.holding) == [made]
    await store.write(lambda tx: tx.run("UPDATE bans SET expires_at = ?", (tx.now - 1,)))
    assert await store.read(bans.holding) == []
    second = await store.write(bans.ban, "192.0.2.1", 3600, "guessing")
    assert (second.offences, second.expires_at - second.created_at) == (2, 7200)
    await store.write(lambda tx: tx.run("UPDATE bans SET expires_at = ?, offences = 40", (tx.now - 1,)))
    longest = await store.write(bans.ban, "192.0.2.1", 3600, "guessing")
    assert longest.expires_at - longest.created_at == bans.LONGEST
    await store.write(bans.remove, "192.0.2.1")
    with pytest.raises(NotFound):
        await store.write(bans.remove, "192.0.2.1")


async def test_what_is_long_over_is_forgotten(store: Store) -> None:
    await store.write(bans.ban, "192.0.2.1", 3600, "guessing")
    await store.write(lambda tx: tx.run("UPDATE bans SET expires_at = ?", (tx.now - bans.REMEMBERED - 1,)))
    await store.write(bans.ban, "2001:db8::/64", 3600, "guessing")
    assert (await store.write(bans.ban, "192.0.2.1", 3600, "guessing")).offences == 1
