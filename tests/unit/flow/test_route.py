import pytest

from empty_store import put_empty_store
from pillarbox.flow import route
from pillarbox.flow.route import Refusal, Route, Routes, find
from pillarbox.store import directory
from pillarbox.store.errors import Busy
from pillarbox.store.opening import open_store


@pytest.fixture
async def store(tmp_path):
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    await store.write(directory.create_user, "ada@example.com", "ada@example.com", "!")
    yield store
    await store.close()


def count(routes):
    """Let the store count how often it is asked."""
    asked = []
    peek = routes._store.peek
    routes._store.peek = lambda fn, *args: asked.append(args) or peek(fn, *args)
    return asked


async def test_a_good_route_is_remembered_until_the_directory_changes(store):
    routes = Routes(store)
    store.on_commit(routes.changed)
    asked = count(routes)
    assert routes.now("ada", "example.com").users == ((1, "ada@example.com"),)
    assert routes.now("ada", "example.com", 10_000).users == ((1, "ada@example.com"),)
    assert len(asked) == 1
    await store.write(directory.set_enabled, "ada@example.com", False)
    assert routes.now("ada", "example.com").refusal in (Refusal.DISABLED, Refusal.NOT_OURS)
    await store.write(directory.set_enabled, "ada@example.com", True)
    assert routes.now("ada", "example.com").refusal is None


async def test_refusals_are_not_remembered(store):
    routes = Routes(store)
    assert routes.now("bob", "example.com").refusal is Refusal.UNKNOWN
    await store.write(directory.create_user, "bob@example.com", "bob@example.com", "!")
    assert routes.now("bob", "example.com").refusal is None


async def test_a_quota_is_looked_at_every_time(store):
    routes = Routes(store)
    await store.write(directory.set_quota, "ada@example.com", 1000)
    assert routes.now("ada", "example.com", 10).refusal is None
    assert routes.now("ada", "example.com", 1001).refusal is Refusal.TOO_BIG
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = 999"))
    assert routes.now("ada", "example.com", 10).refusal is Refusal.FULL
    assert routes.now("ada", "example.com").refusal is None


async def test_an_alias_takes_mail_while_one_of_its_mailboxes_has_room(store):
    await store.write(directory.create_user, "full@example.com", "full@example.com", "!", quota_limit=1)
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = 1 WHERE username = 'full@example.com'"))
    await store.write(directory.add_alias, "both@example.com", "full@example.com")
    assert (await store.read(find, "both", "example.com")).refusal is Refusal.FULL
    await store.write(directory.add_alias, "both@example.com", "ada@example.com")
    assert len((await store.read(find, "both", "example.com")).users) == 2


async def test_what_was_read_before_a_change_is_not_remembered_after_it(store):
    routes = Routes(store)

    async def read(fn, *args):
        found = store.peek(fn, *args)
        routes.changed({(0, 0)})
        return found

    routes._store = type("Slow", (), {"read": staticmethod(read), "peek": staticmethod(busy)})()
    assert (await routes.later("ada", "example.com")).refusal is None
    with pytest.raises(Busy):
        routes.now("ada", "example.com")


def busy(*args):
    raise Busy("later")


async def test_what_is_remembered_is_bounded(store, monkeypatch):
    monkeypatch.setattr(route, "MOST_REMEMBERED", 2)
    routes = Routes(store)
    for tag in range(5):
        assert routes.now(f"ada+{tag}", "example.com") == Route(((1, "ada@example.com"),), lasting=True)
    assert len(routes._known) <= 2
