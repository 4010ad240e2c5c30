"""Rules of operators: where the queue sends mail, what is held or discarded, what strangers may send through us."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillarbox.flow import destination
from pillarbox.flow.destination import Decision, Destinations, adopt
from pillarbox.flow.route import Forward, Refusal, Route, find
from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, blobs, delivery, migrate, queue, queue_claim, routes, rule_lookup
from pillarbox.store.errors import Invalid
from pillarbox.store.records import NewMessage, Queued, QueueFilter, User
from pillarbox.store.rule_lookup import domain_patterns
from pillarbox.store.sqlite_connection import connect
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.tx import Tx

KINDS: dict[str, dict[str, Any]] = {
    "smart": {"kind": "smarthost", "host": "smart.example"},
    "dovecot": {"kind": "lmtp", "host": "/run/dovecot/lmtp"},
    "second": {"kind": "backup"},
    "slowly": {"kind": "mx", "concurrency": 1},
    "nowhere": {"kind": "discard"},
    "later": {"kind": "hold"},
}


@pytest.fixture(params=[rule_lookup.FEW, 0], ids=["few", "many"], autouse=True)
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with rules that are read at once, and with rules that are looked for."""
    monkeypatch.setattr(rule_lookup, "FEW", request.param)


async def make(store: Store, *rules: tuple[str, str, str], accept: bool = False) -> dict[str, int]:
    """All the routes above, and rules (scope, pattern, route); ids by name."""

    def work(tx: Tx) -> dict[str, int]:
        made = {name: routes.create_route(tx, name, **columns).id for name, columns in KINDS.items()}
        for scope, pattern, route in rules:
            routes.add_rule(tx, scope, pattern, route, accept=accept)
        return made

    return await store.write(work)


async def where(store: Store, sender: str, recipient: str, forced: int | None = None) -> Decision:
    return await store.read(lambda tx: Destinations(tx, sender).of(recipient, forced))


async def test_without_rules_mail_goes_to_the_mx(store: Store) -> None:
    assert (await where(store, "a@x.example", "b@Bücher.example")).name == "mx xn--bcher-kva.example"
    assert (await where(store, "", "b@[192.0.2.1]")).name == "mx [192.0.2.1]"


async def test_the_first_rule_in_the_documented_order_decides(store: Store) -> None:
    order = [
        ("sender", "ada@our.example", "smart"),
        ("sender", "our.example", "dovecot"),
        ("recipient", "bob@mail.example.org", "smart"),
        ("recipient", "mail.example.org", "dovecot"),
        ("recipient", ".example.org", "second"),
        ("recipient", ".org", "slowly"),
        ("recipient", "*", "smart"),
    ]
    ids = await make(store, *order)
    for scope, pattern, name in order:
        found = await where(store, "ada@our.example", "bob@mail.example.org")
        kind = KINDS[name]["kind"]
        assert found.route_id == ids[name]
        assert found.name == f"route {ids[name]}" + (" mail.example.org" if kind in ("mx", "backup") else "")
        assert found.why == f"the {scope} rule {pattern} says route {name} ({kind})"
        await store.write(routes.remove_rule, scope, pattern)
    assert (await where(store, "ada@our.example", "bob@mail.example.org")).name == "mx mail.example.org"


async def test_what_rules_do_not_match(store: Store) -> None:
    await make(store, ("recipient", ".example.org", "smart"), ("sender", "our.example", "smart"))
    assert (await where(store, "", "bob@example.org")).name == "mx example.org"
    assert (await where(store, "", "bob@notexample.org")).name == "mx notexample.org"
    assert (await where(store, "ada@sub.our.example", "bob@x.example")).name == "mx x.example"


async def test_an_address_is_met_in_any_case_and_with_detail(store: Store) -> None:
    ids = await make(store, ("recipient", "bob@example.org", "smart"))
    for recipient in ("Bob@EXAMPLE.org", "bob+tag@example.org"):
        assert (await where(store, "", recipient)).name == f"route {ids['smart']}"
    assert (await where(store, "", "bobby@example.org")).route_id is None


async def test_where_an_operator_moved_it_it_stays(store: Store) -> None:
    ids = await make(store, ("recipient", "*", "dovecot"))
    found = await where(store, "", "bob@example.org", ids["smart"])
    assert found.name == f"route {ids['smart']}"
    found = await where(store, "", "bob@example.org", 999)  # that route is gone
    assert found.name == f"route {ids['dovecot']}"


async def enqueue(store: Store, *rows: Queued) -> list[Any]:
    def work(tx: Tx) -> list[Any]:
        content = b"Subject: x\r\n\r\nhello\r\n"
        destinations = destination.Destinations(tx, rows[0].sender)
        kept = [made for row in rows if (made := destination.placed(row, destinations.of(row.recipient)))]
        return delivery.deliver(tx, NewMessage(blobs.pack(content), None, analyse(content)), kept)

    return await store.write(work)


async def state(store: Store) -> list[tuple[Any, ...]]:
    found = await store.scan(queue.find, QueueFilter())
    return [(row.to_address, row.status, row.destination) for row in found]


async def test_held_mail_waits_and_then_goes_where_the_other_rules_say(store: Store) -> None:
    ids = await make(store, ("sender", "evil.example", "later"), ("recipient", "example.org", "smart"))
    await enqueue(store, Queued("x@evil.example", "a@example.org"), Queued("x@evil.example", "b@example.net"))
    assert [status for _, status, _ in await state(store)] == ["held", "held"]
    await store.write(queue.release, QueueFilter(recipient="a@example.org"))
    assert await store.write(adopt, 10) == 1
    assert await state(store) == [
        ("a@example.org", "pending", f"route {ids['smart']}"),
        ("b@example.net", "held", ""),
    ]
    await store.write(queue.release, QueueFilter())
    await store.write(adopt, 10)
    assert (await state(store))[1] == ("b@example.net", "pending", "mx example.net")


async def test_waiting_rows_follow_the_rules_when_these_change(store: Store) -> None:
    ids = await make(store)
    rows = [
        Queued("x@our.example", f"{name}@example.{name}", message_key="KEY") for name in ("org", "net", "com", "edu")
    ]
    await enqueue(store, *rows)
    for pattern, name in (("example.org", "later"), ("example.net", "nowhere"), ("example.com", "dovecot")):
        await store.write(routes.add_rule, "recipient", pattern, name)
    assert await queue.in_pages(store, queue.reroute, QueueFilter()) == 4
    assert await store.write(adopt, 3) == 3
    assert await store.write(adopt, 3) == 1
    assert await store.write(adopt, 3) == 0
    assert await state(store) == [
        ("org@example.org", "held", "mx example.org"),
        ("com@example.com", "pending", f"route {ids['dovecot']}"),
        ("edu@example.edu", "pending", "mx example.edu"),
    ]
    assert await store.write(queue_claim.due_destinations, "me", 10, 60) != []
    (gone,) = await store.scan(lambda tx: tx.rows("SELECT message_key, kind, recipient, detail FROM message_events"))
    assert gone[:3] == ("KEY", "discarded", "net@example.net")
    assert "the recipient rule example.net says route nowhere (discard)" in gone[3]


async def test_rows_that_somebody_wrote_by_hand_go_somewhere(store: Store) -> None:
    await make(store, ("recipient", "*", "smart"), ("sender", "evil.example", "later"))
    await store.write(
        lambda tx: tx.many(
            "INSERT INTO message_queue (from_address, to_address, created_at, next_retry_at, message_data) "
            "VALUES (?, ?, 1, 1, ?)",
            [
                (sender, recipient, b"x: y\r\n\r\n")
                for sender in ("", "x", "@", "x@")
                for recipient in ("", "@", "b", "b@")
            ],
        )
    )
    assert await store.write(adopt, 100) == 16
    assert await store.write(adopt, 100) == 0


async def test_discarded_mail_leaves_no_row(store: Store) -> None:
    await make(store, ("recipient", "example.org", "nowhere"))
    await enqueue(store, Queued("x@our.example", "a@example.org"), Queued("x@our.example", "b@example.net"))
    assert [address for address, _, _ in await state(store)] == ["b@example.net"]


async def test_a_domain_behind_us_takes_mail_from_anybody(store: Store, alice: User) -> None:
    await make(store, ("recipient", "behind.example", "dovecot"), ("recipient", ".many.example", "second"), accept=True)
    assert await store.read(find, "Bob", "behind.example") == Route((), (Forward("Bob@behind.example"),), lasting=True)
    assert (await store.read(find, "bob", "one.many.example")).forward == (Forward("bob@one.many.example"),)
    assert (await store.read(find, "bob", "many.example")).refusal is Refusal.NOT_OURS
    assert (await store.read(find, "bob", "other.example")).refusal is Refusal.NOT_OURS
    assert (await store.read(find, "alice", "example.com")).users != ()


async def test_an_address_and_the_rest_of_a_domain_of_ours_may_be_behind_us(store: Store, alice: User) -> None:
    ids = await make(store)
    await store.write(routes.add_rule, "recipient", "mailman@example.com", "dovecot", accept=True)
    assert (await store.read(find, "mailman", "example.com")).forward == (Forward("mailman@example.com"),)
    assert (await store.read(find, "nobody", "example.com")).refusal is Refusal.UNKNOWN
    await store.write(routes.add_rule, "recipient", "example.com", "smart", accept=True)
    assert (await store.read(find, "nobody", "example.com")).forward == (Forward("nobody@example.com"),)
    assert (await store.read(find, "alice", "example.com")).users == ((alice.id, "alice"),)
    await store.write(routes.add_rule, "recipient", "alice@example.com", "dovecot", accept=True)
    assert (await store.read(find, "alice", "example.com")).users == ()
    assert (await where(store, "", "alice@example.com")).name == f"route {ids['dovecot']}"


async def test_the_nearest_rule_decides_whether_strangers_may(store: Store) -> None:
    await make(store, ("recipient", ".example.org", "second"), accept=True)
    await store.write(routes.add_rule, "recipient", "inner.example.org", "smart")
    assert (await store.read(find, "bob", "inner.example.org")).refusal is Refusal.NOT_OURS
    assert (await store.read(find, "bob", "outer.example.org")).refusal is None


@pytest.mark.parametrize("pattern", ["*", ".org", ".", "@"])
async def test_too_much_cannot_be_accepted(store: Store, pattern: str) -> None:
    await make(store)
    with pytest.raises(Invalid):
        await store.write(routes.add_rule, "recipient", pattern, "smart", accept=True)
    with pytest.raises(Invalid):
        await store.write(routes.add_rule, "sender", "example.org", "smart", accept=True)


names = st.sampled_from(["org", "example.org", "mail.example.org", "net", "example.net", "x.net", "ours.example"])
patterns = st.one_of(names, names.map(lambda name: f".{name}"), names.map(lambda name: f"bob@{name}"), st.just("*"))
rules_drawn = st.lists(
    st.tuples(st.sampled_from(["sender", "recipient"]), patterns, st.sampled_from(sorted(KINDS)), st.booleans()),
    max_size=8,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    with tempfile.TemporaryDirectory(prefix="pillarbox-") as folder:
        migrate(f"{folder}/smtp.db")
        yield connect(f"{folder}/smtp.db", "writer")


@contextmanager
def undone(connection: apsw.Connection) -> Iterator[SqliteTx]:
    connection.execute("BEGIN")
    try:
        yield SqliteTx(connection, 1_800_000_000)
    finally:
        connection.execute("ROLLBACK")


@settings(deadline=None)
@given(rules_drawn, st.sampled_from(["bob", "eve", "srs0=abcdef=aa=example.org=bob"]), names)
def test_no_rule_lets_a_stranger_relay_that_does_not_say_so(
    connection: apsw.Connection, rules: list[Any], local: str, domain: str
) -> None:
    """Whatever rules there are, even written by hand: a domain that is not ours is taken only by a rule that says
    `accept` and names the address, the domain or a parent of it."""
    different = {(scope, pattern): (name, accept) for scope, pattern, name, accept in rules}
    with undone(connection) as tx:
        made = {name: routes.create_route(tx, name, **columns).id for name, columns in KINDS.items()}
        for (scope, pattern), (name, accept) in different.items():
            tx.insert(
                "INSERT INTO route_rules (scope, pattern, route_id, accept, created_at) VALUES (?, ?, ?, ?, 0)",
                (scope, pattern, made[name], int(accept)),
            )
        found = find(tx, local, domain)
        allowed = {f"{local}@{domain}", *domain_patterns(domain)}
        accepting = {pattern for (scope, pattern), (_, accept) in different.items() if scope == "recipient" and accept}
        assert not found.users and not found.lists
        if found.refusal is None:
            assert found.forward == (Forward(f"{local}@{domain}"),)
            assert accepting & allowed
        if not accepting & allowed:
            assert found.refusal is Refusal.NOT_OURS
