"""LANGUAGE (RFC 5255 section 3): English before and after the login, and nothing else."""

import pytest

from pillarbox.imap.language import look_up


async def test_the_command(house):
    async with house() as h:
        c = await h.connect()
        assert b" LANGUAGE " in await c.response()
        assert await c.ok("LANGUAGE") == [b"LANGUAGE (en i-default)"]
        assert await c.ok("LANGUAGE de EN-gb") == [b"LANGUAGE (en)"]
        assert await c.ok("LANGUAGE de default") == [b"LANGUAGE (i-default)"]
        assert b"NO None of these languages" in await c.refused("LANGUAGE de fr")
        await c.ok("LOGIN ada@example.com secret")
        assert b"LANGUAGE" in (await c.ok("CAPABILITY"))[0].split()
        await c.ok("SELECT INBOX")
        assert await c.ok("LANGUAGE i-default") == [b"LANGUAGE (i-default)"]


@pytest.mark.parametrize(
    ("ranges", "found"),
    [
        (("en-US-x-private",), "en"),
        (("de-CH", "fr", "*"), "i-default"),
        (("I-DEFAULT",), "i-default"),
        (("i",), None),
        (("e", "english", "de-en"), None),
        (("zh-*", "en-*"), "en"),
    ],
)
def test_lookup(ranges, found):
    assert look_up(ranges) == found
