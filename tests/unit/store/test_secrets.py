from pillarbox.store import Store
from pillarbox.store.secrets import LENGTH, make_secret, secret


async def test_a_key_is_made_once(store: Store) -> None:
    assert await store.read(secret, "srs_key") is None
    made = await store.write(make_secret, "srs_key")
    assert len(made) == LENGTH
    assert await store.write(make_secret, "srs_key") == made
    assert await store.read(secret, "srs_key") == made
    assert await store.write(make_secret, "another") != made
