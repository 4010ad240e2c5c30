"""Two workers that tell each other nothing: a command's end knows what was committed before it, on both engines."""


async def test_the_next_command_sees_what_a_sibling_has_done(make_house):
    async with make_house() as h:
        await h.put()
        mine, theirs = await h.login("INBOX"), await h.login("INBOX", node=await h.second_node())
        await theirs.ok("STORE 1 +FLAGS (\\Flagged)")
        assert any(b"\\Flagged" in line for line in await mine.ok("NOOP"))
        await h.put()
        assert b"2 EXISTS" in await theirs.ok("CHECK")
        assert b"2 EXISTS" in await mine.ok("SEARCH 1")
        await theirs.ok("STORE 1 +FLAGS (\\Deleted)")
        await theirs.ok("EXPUNGE")
        assert b"1 EXPUNGE" in await mine.ok("NOOP")
