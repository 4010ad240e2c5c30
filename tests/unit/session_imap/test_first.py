async def test_login_select_fetch(house):
    async with house() as h:
        await h.put()
        c = await h.login()
        assert b"1 EXISTS" in await c.ok("SELECT INBOX")
        assert await c.ok("FETCH 1:* (FLAGS UID RFC822.SIZE)") == [b"1 FETCH (FLAGS (\\Recent) UID 1 RFC822.SIZE 153)"]
