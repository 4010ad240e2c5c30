"""What functions note of the directory: kept from transaction to transaction, gone with its change or their failure."""

import apsw
import pytest
from store_samples import message
from test_group_commit import one_group, settled

from pillarbox.flow import allowance
from pillarbox.flow.destination import Routing
from pillarbox.flow.planning import Envelope, Recipient, plan
from pillarbox.flow.route import relayed
from pillarbox.store import Conflict, NotFound, Tx, directory, open_store, routes, senders

EVE = "eve@elsewhere.example"


def asked(tx: Tx, name: str) -> str:
    """Where mail for the domain goes, and that this was noted."""
    decision = Routing(tx).of("", f"x@{name}")
    if tx.engine == "sqlite":
        assert tx.remembered()["destination", "", f"x@{name}"] is decision
    return decision.name


async def test_a_change_is_seen_by_the_next_function(store, alice):
    assert await store.write(asked, "far.example") == "mx far.example"
    await store.write(routes.create_route, "hub", "smarthost", host="hub.example")
    await store.write(routes.add_rule, "recipient", "*", "hub")
    assert (await store.write(asked, "far.example")).startswith("route ")
    await store.write(routes.remove_rule, "recipient", "*")
    assert await store.write(asked, "far.example") == "mx far.example"
    await store.write(directory.create_domain, "far.example")
    assert await store.write(asked, "far.example") == "local"
    await store.write(directory.set_domain, "far.example", enabled=False)
    assert await store.write(asked, "far.example") == "mx far.example"


async def test_a_change_by_hand_is_seen_too(tmp_path):
    store = await open_store(tmp_path / "smtp.db")
    try:
        assert await store.write(asked, "far.example") == "mx far.example"
        with apsw.Connection(str(tmp_path / "smtp.db")) as other:
            other.set_busy_timeout(1000)
            other.execute("INSERT INTO domains (name, created_at) VALUES ('far.example', 0)")
        assert await store.write(asked, "far.example") == "local"
    finally:
        await store.close()


def _failing(tx: Tx) -> None:
    directory.create_domain(tx, "far.example")
    assert asked(tx, "far.example") == "local"
    raise Conflict("not so")


def _failing_inside(tx: Tx) -> None:
    with pytest.raises(Conflict), tx.savepoint():
        _failing(tx)


@pytest.mark.parametrize("alone", [True, False])
async def test_what_a_failed_function_has_seen_is_forgotten(tmp_path, alone):
    """The version that it changed the directory to comes again, by another change."""
    store = await open_store(tmp_path / "smtp.db")
    try:
        if alone:
            with pytest.raises(Conflict):
                await store.write(_failing)
            await store.write(directory.create_domain, "other.example")
            assert await store.write(asked, "far.example") == "mx far.example"
        else:
            with one_group(tmp_path):
                failed = store.write(_failing)
                next_one = store.write(asked, "far.example")
                other = store.write(directory.create_domain, "other.example")
                found = store.write(asked, "far.example")
            assert isinstance((await settled(failed, next_one, other, found))[0], Conflict)
            assert next_one.result() == "mx far.example"
            assert found.result() == "mx far.example"
        await store.write(_failing_inside)
        await store.write(directory.create_domain, "third.example")
        assert await store.write(asked, "far.example") == "mx far.example"
    finally:
        await store.close()


def _submit(tx: Tx, user_id: int) -> None:
    recipient = Recipient(EVE, relayed(EVE))
    envelope = Envelope("1ABC", "alice@example.com", (recipient,), b"Received: x\r\n", 0.0, "mx", user_id=user_id)
    content = message("x", "y\r\n")
    allowance.submit(tx, allowance.Allowance(), envelope, plan(envelope, content), content, b"")


async def test_a_held_account_sends_nothing_from_then_on(store, alice):
    for held in (False, True, False, True):
        if held:
            await store.write(senders.hold, alice.id, "a reason")
            with pytest.raises(allowance.Held, match="a reason"):
                await store.write(_submit, alice.id)
            await store.write(senders.release, alice.id)
        else:
            await store.write(_submit, alice.id)
    await store.write(directory.delete_user, alice.username)
    with pytest.raises(NotFound):
        await store.write(_submit, alice.id)
