"""A banned address is told so and does not get in; a listed one does."""

from ipaddress import ip_network

from pillarbox.store import bans


async def test_a_ban_from_guessing_to_its_end(house):
    async with house(ban_failures=2, ban_never=()) as h:
        before = await h.login()
        c = await h.connect()
        await c.response()
        assert b"AUTHENTICATIONFAILED" in await c.refused("LOGIN ada@example.com guess1")
        assert b"AUTHENTICATIONFAILED" in await c.refused("LOGIN ada@example.com guess2")
        assert b"AUTHENTICATIONFAILED" in await c.refused("LOGIN ada@example.com secret")  # right, and not looked at
        other = await h.connect()
        said = await other.response()
        assert said.startswith(b"* BYE [UNAVAILABLE] Your address is banned until 2")
        assert said.endswith(b"UTC: 2 failed logins, the last by imap")
        assert await other.ended()
        await before.ok("NOOP")  # who is logged in stays
        await h.node.store.write(bans.remove, "127.0.0.1")
        await before.ok("NOOP")
        await h.login()


async def test_listed_networks_come_in(house):
    async with house(ban_failures=1, ban_never=(ip_network("127.0.0.0/8"),)) as h:
        await h.node.store.write(bans.ban, "127.0.0.1", 3600, "by hand")
        client = await h.login()
        assert await client.ok("NOOP") == []
