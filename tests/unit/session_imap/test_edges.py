"""What nobody sends in earnest: it costs little memory, gets a clear reply, and the session goes on or says BYE."""

import tracemalloc

import pytest

MIB = 1 << 20
MILLION = b",".join(b"%d" % number for number in range(1, 2_000_000, 2))  # made before memory is counted


@pytest.fixture
def peak():
    """The most memory taken since the test began, in octets, client included."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


async def refused_clearly(client, command):
    """The tagged NO or BAD, or the BYE when the server takes no more of it."""
    await client.send(b"e " + command + b"\r\n")
    while True:
        response = await client.response()
        if response.startswith((b"e ", b"* BYE")):
            assert not response.startswith(b"e OK"), response
            return response


async def test_a_set_of_a_million_elements(house, peak):
    async with house() as h:
        await h.put()
        client = await h.login("INBOX")
        reply = await refused_clearly(client, b"UID FETCH " + MILLION + b" FLAGS")
        assert reply.startswith((b"e BAD", b"e NO", b"* BYE"))
        assert peak() < len(MILLION) + 40 * MIB
        other = await h.login("INBOX")
        assert len(await other.ok("FETCH 1 FLAGS")) == 1


@pytest.mark.parametrize(
    "command", [b"SEARCH %b", b"FETCH 1 %b", b"LIST %b", b"THREAD REFERENCES UTF-8 %b", b"STORE 1 FLAGS %b"]
)
async def test_ten_thousand_parentheses(house, peak, command):
    async with house() as h:
        await h.put()
        client = await h.login("INBOX")
        for nested in (b"(" * 10_000 + b"ALL" + b")" * 10_000, b"(" * 10_000, b"(" + b"NOT " * 10_000 + b"ALL)("):
            reply = await refused_clearly(client, command % nested)
            assert reply.startswith((b"e BAD", b"e NO")), reply
        assert await client.ok("NOOP") == []
        assert peak() < 40 * MIB


@pytest.mark.parametrize("literal", [b"{1073741824}", b"{1073741824+}", b"~{1073741824}", b"{99999999999999999999}"])
async def test_an_append_of_a_gigabyte_is_refused_at_its_size(house, peak, literal):
    async with house() as h:
        client = await h.login("INBOX")
        reply = await refused_clearly(client, b"APPEND INBOX " + literal)
        assert b"TOOBIG" in reply or reply.startswith((b"e BAD", b"* BYE")), reply
        assert peak() < 20 * MIB
        other = await h.login("INBOX")
        assert b"0 EXISTS" in await other.ok("SELECT INBOX")


async def test_a_long_literal_where_a_word_belongs(house, peak):
    async with house() as h:
        client = await h.login("INBOX")
        reply = await refused_clearly(client, b"SEARCH SUBJECT {104857600}")
        assert reply.startswith((b"e BAD", b"e NO")), reply
        assert await client.ok("NOOP") == []
        assert peak() < 20 * MIB
