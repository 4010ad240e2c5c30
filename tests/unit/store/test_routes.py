"""Routes and rules, as an operator writes them."""

import pytest

from pillarbox.store import Conflict, Invalid, NotFound, Store, routes


async def test_routes(store: Store) -> None:
    made = await store.write(
        routes.create_route, "relay", "smarthost", host="relay.example.net", port=587, tls="verify", username="u"
    )
    assert (made.name, made.kind, made.host, made.port, made.tls) == (
        "relay",
        "smarthost",
        "relay.example.net",
        587,
        "verify",
    )
    assert await store.read(routes.get, made.id) == await store.read(routes.route_named, "relay") == made
    assert await store.read(routes.get, 99) is None
    lmtp = await store.write(routes.create_route, "dovecot", "lmtp", host="unix:/run/lmtp")
    assert (lmtp.port, lmtp.tls) == (24, "may")
    await store.write(routes.create_route, "backup", "backup")
    assert [route.name for route in await store.read(routes.routes)] == ["backup", "dovecot", "relay"]
    changed = await store.write(routes.set_route, "relay", password="secret", concurrency=5)
    assert (changed.password, changed.concurrency, changed.host) == ("secret", 5, "relay.example.net")
    assert await store.write(routes.delete_route, "backup") > 0
    with pytest.raises(NotFound):
        await store.write(routes.delete_route, "backup")
    with pytest.raises(Conflict):
        await store.write(routes.create_route, "relay", "mx")


@pytest.mark.parametrize(
    ("name", "kind", "more"),
    [
        ("", "mx", {}),
        ("two words", "mx", {}),
        ("x", "pigeon", {}),
        ("x", "smarthost", {}),
        ("x", "mx", {"tls": "maybe"}),
        ("x", "mx", {"port": 0}),
        ("x", "mx", {"concurrency": -1}),
        ("x", "mx", {"colour": "red"}),
        ("x", "mx", {"host": "relay.example.net"}),
        ("x", "hold", {"host": "relay.example.net"}),
        ("x", "mx", {"ehlo_name": "two words"}),
        ("x", "smarthost", {"host": "relay.example.net:587"}),
        ("x", "smarthost", {"host": "mx:relay.example.net"}),
        ("x", "smarthost", {"host": "relay..example.net"}),
        ("x", "lmtp", {"host": "run/lmtp"}),
        ("x", "lmtp", {"host": "unix:run/lmtp"}),
    ],
)
async def test_routes_that_there_are_not(store: Store, name: str, kind: str, more: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await store.write(routes.create_route, name, kind, **more)
    assert await store.read(routes.routes) == []


async def test_a_port_behind_the_host_is_told_from_other_mistakes(store: Store) -> None:
    with pytest.raises(Invalid, match=r"'relay\.example\.net:587' is no host: the port has an option of its own"):
        await store.write(routes.create_route, "x", "smarthost", host="relay.example.net:587")
    made = await store.write(routes.create_route, "x", "smarthost", host="relay.example.net", port=587)
    with pytest.raises(Invalid, match="'relay example' is no host: give a name"):
        await store.write(routes.set_route, "x", host="relay example")
    assert await store.read(routes.route_named, "x") == made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("[::1]", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("Relay.Example.NET.", "relay.example.net"),
        ("m\u00fcnchen.example", "xn--mnchen-3ya.example"),
        ("relay", "relay"),
        ("/run/lmtp", "/run/lmtp"),
        ("unix:/run/lmtp", "unix:/run/lmtp"),
    ],
)
async def test_hosts_are_kept_as_the_dns_has_them(store: Store, given: str, kept: str) -> None:
    await store.write(routes.create_route, "x", "lmtp", host=given)
    assert (await store.read(routes.route_named, "x")).host == kept


async def test_rules(store: Store) -> None:
    relay = await store.write(routes.create_route, "relay", "smarthost", host="h")
    await store.write(routes.create_route, "quiet", "discard")
    rule = await store.write(routes.add_rule, "recipient", "Example.ORG.", "relay", accept=True)
    assert (rule.pattern, rule.route_id, rule.accept) == ("example.org", relay.id, True)
    for scope, pattern in (("recipient", ".Example.org"), ("sender", "Ann@Example.org"), ("recipient", "*")):
        await store.write(routes.add_rule, scope, pattern, "quiet")
    assert [(rule.scope, rule.pattern) for rule in await store.read(routes.rules)] == [
        ("recipient", "*"), ("recipient", ".example.org"), ("recipient", "example.org"), ("sender", "ann@example.org"),
    ]  # fmt: skip
    await store.write(lambda tx: tx.run("UPDATE route_rules SET pattern = '<>' WHERE scope = 'sender'"))
    await store.write(routes.remove_rule, "sender", "<>")  # one that an earlier version took
    await store.write(routes.add_rule, "sender", "ann@example.org", "quiet")
    with pytest.raises(Conflict, match=r"route relay is used by the rules for example\.org"):
        await store.write(routes.delete_route, "relay")
    again = await store.write(routes.add_rule, "recipient", "example.org", "quiet")
    assert (await store.read(routes.rules_of, relay.id), again.accept) == ([], False)
    await store.write(routes.delete_route, "relay")
    await store.write(routes.remove_rule, "sender", "ann@EXAMPLE.org")
    with pytest.raises(NotFound):
        await store.write(routes.remove_rule, "sender", "ann@example.org")
    with pytest.raises(NotFound):
        await store.write(routes.add_rule, "recipient", "example.org", "nowhere")


@pytest.mark.parametrize(
    "pattern", ["", ".", "a b.org", "*.org", "a..b", "x" * 300, "@", "a@", "<>", "<a@b.org>", "*@b.org"]
)
async def test_patterns_that_there_are_not(store: Store, pattern: str) -> None:
    await store.write(routes.create_route, "quiet", "discard")
    with pytest.raises(Invalid):
        await store.write(routes.add_rule, "recipient", pattern, "quiet")


@pytest.mark.parametrize(("scope", "pattern"), [("sender", "a.org"), ("recipient", "*")])
async def test_strangers_may_not_send_to_everybody(store: Store, scope: str, pattern: str) -> None:
    await store.write(routes.create_route, "r", "backup")
    with pytest.raises(Invalid):
        await store.write(routes.add_rule, scope, pattern, "r", accept=True)
    with pytest.raises(Invalid):
        await store.write(routes.add_rule, "envelope", "a.org", "r")
