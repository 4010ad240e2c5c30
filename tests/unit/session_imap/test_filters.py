"""FILTERS: search programs under a name."""


async def test_a_filter_is_a_search_program_by_name(house):
    async with house() as h:
        await h.put(b"Subject: lunch\r\n\r\nx", b"Subject: tea\r\n\r\nx", b"Subject: late lunch\r\n\r\nx")
        c = await h.login("INBOX")
        await c.ok('SETMETADATA "" (/private/filters/values/Food "OR SUBJECT lunch SUBJECT cake")')
        assert await c.ok("SEARCH FILTER food") == [b"SEARCH 1 3"]
        assert await c.ok("SEARCH FILTER FOOD NOT SUBJECT late") == [b"SEARCH 1"]
        assert await c.ok("SEARCH NOT FILTER Food") == [b"SEARCH 2"]
        assert await c.ok("SORT (REVERSE ARRIVAL) UTF-8 FILTER food") in ([b"SORT 3 1"], [b"SORT 1 3"])
        await c.ok('SETMETADATA "" (/private/filters/values/both "FILTER food 3")')
        assert await c.ok("UID SEARCH FILTER both") == [b"SEARCH 3"]
        assert (await c.ok("ESEARCH IN (PERSONAL) RETURN (COUNT) FILTER food"))[0].endswith(b"COUNT 2")


async def test_filters_that_cannot_be(house):
    async with house() as h:
        c = await h.login("INBOX")
        assert (await c.refused("SEARCH FILTER nothing")).startswith(b"NO [UNDEFINED-FILTER nothing]")
        assert (await c.refused('SETMETADATA "" (/private/filters/values/x "LOUDER 3")')).startswith(b"NO [CANNOT]")
        await c.ok('SETMETADATA "" (/private/filters/values/a "FILTER b" /private/filters/values/b "FILTER a")')
        assert (await c.refused("SEARCH FILTER a")).startswith(b"NO [UNDEFINED-FILTER a]")


async def test_shared_filters_stand_behind_ones_own(house):
    async with house() as h:
        await h.add_user("boss@example.com", role="admin")
        await h.put(flags=1)
        boss, c = await h.login(user="boss@example.com"), await h.login("INBOX")
        await boss.ok('SETMETADATA "" (/shared/filters/values/mine "SEEN")')
        assert await c.ok("SEARCH FILTER mine") == [b"SEARCH 1"]
        await c.ok('SETMETADATA "" (/private/filters/values/mine "UNSEEN")')
        assert await c.ok("SEARCH FILTER mine") == [b"SEARCH"]
