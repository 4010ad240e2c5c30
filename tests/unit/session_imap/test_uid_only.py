"""UIDONLY (RFC 9586) and UTF8=ACCEPT (RFC 9755) in a session."""

from house import MESSAGE


async def test_no_message_numbers_are_told(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE, MESSAGE)
        c, other = await h.login("INBOX"), await h.login("INBOX")
        await c.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)")
        await c.ok("EXPUNGE")
        assert await c.ok("ENABLE UIDONLY") == [b"ENABLED UIDONLY"]
        told = await c.ok("SELECT INBOX")
        assert not any(b"UNSEEN" in line for line in told)
        assert await c.ok("UID FETCH 1:* FLAGS") == [
            b"2 UIDFETCH (UID 2 FLAGS ())",
            b"3 UIDFETCH (UID 3 FLAGS ())",
        ]
        (fetched,) = await c.ok("UID FETCH 3 BODY[TEXT]")
        assert fetched.startswith(b"3 UIDFETCH (UID 3 BODY[TEXT] {18}")
        await other.ok("UID STORE 3 +FLAGS (\\Flagged)")
        assert await c.ok("NOOP") == [b"3 UIDFETCH (FLAGS (\\Flagged \\Seen))"]
        assert await c.ok("UID STORE 2 +FLAGS (\\Deleted)") == [b"2 UIDFETCH (FLAGS (\\Deleted))"]
        assert await c.ok("EXPUNGE") == [b"VANISHED 2"]
        assert (await c.refused("STORE 1 +FLAGS (\\Seen)")).startswith(b"BAD [UIDREQUIRED]")
        assert await c.ok("UID SEARCH ALL") == [b"SEARCH 3"]


async def test_resynchronising_without_numbers(house):
    async with house() as h:
        await h.put(MESSAGE, MESSAGE)
        c = await h.login(enable="UIDONLY QRESYNC")
        told = await c.ok("SELECT INBOX")
        validity = next(line for line in told if b"UIDVALIDITY" in line).split(b"UIDVALIDITY ")[1].split(b"]")[0]
        told = await c.ok(b"SELECT INBOX (QRESYNC (%b 1))" % validity)
        assert any(line.startswith(b"2 UIDFETCH (UID 2 FLAGS ()") for line in told)


async def test_names_and_quoted_strings_in_utf8(house):
    async with house() as h:
        c = await h.login()
        await c.ok("CREATE &AOQ-")
        assert b'LIST (\\HasNoChildren) "/" &AOQ-' in await c.ok('LIST "" *')
        assert await c.ok("ENABLE UTF8=ACCEPT") == [b"ENABLED UTF8=ACCEPT"]
        assert 'LIST (\\HasNoChildren) "/" "ä"'.encode() in await c.ok('LIST "" *')
        await c.ok('SELECT "ä"'.encode())
        message = "Subject: Grüße\r\nFrom: jörg@exämple.com\r\n\r\nhallo\r\n".encode()
        await c.send('x APPEND "ä" UTF8 (~{%d+}\r\n'.encode() % len(message) + message + b")\r\n")
        assert (await c.until(b"x"))[-1].startswith(b"x OK [APPENDUID")
        assert await c.ok('SEARCH SUBJECT "GRÜßE"'.encode()) == [b"SEARCH 1"]
        assert b"1 EXISTS" in await c.ok('EXAMINE "ä"'.encode())
        (fetched,) = await c.ok("FETCH 1 (ENVELOPE BODY.PEEK[])")
        assert fetched.endswith(message + b")")
        assert "Grüße".encode() in fetched.partition(b"BODY[]")[0]
