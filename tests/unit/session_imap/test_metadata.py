"""METADATA: entries of mailboxes and of the server, private and shared ones."""

from pillarbox.store import metadata


async def test_entries_are_set_got_and_removed(house):
    async with house() as h:
        c = await h.login()
        await c.ok('SETMETADATA INBOX (/private/comment "mine" /shared/comment {})', b"two\r\nlines")
        assert await c.ok("GETMETADATA INBOX (/shared/comment /PRIVATE/comment /private/none)") == [
            b'METADATA INBOX (/shared/comment {10}\r\ntwo\r\nlines /private/comment "mine" /private/none NIL)'
        ]
        await c.ok("SETMETADATA inbox (/private/comment NIL)")
        assert await c.ok("GETMETADATA INBOX /private/comment") == [b"METADATA INBOX (/private/comment NIL)"]
        assert (await c.refused("GETMETADATA nowhere /private/comment")).startswith(b"NO [NONEXISTENT]")
        await c.ok("CREATE a")
        await c.ok('SETMETADATA a (/private/comment "x")')
        await c.ok("RENAME a b")
        assert await c.ok("GETMETADATA b /private/comment") == [b'METADATA b (/private/comment "x")']
        await c.ok("DELETE b")
        await c.ok("CREATE b")
        assert await c.ok("GETMETADATA b /private/comment") == [b"METADATA b (/private/comment NIL)"]


async def test_depth_and_size(house):
    async with house() as h:
        c = await h.login()
        await c.ok('SETMETADATA "" (/private/a "1" /private/a/b "22" /private/a/b/c "333" /private/ab "4")')
        assert await c.ok('GETMETADATA (DEPTH 1) "" /private/a') == [b'METADATA "" (/private/a "1" /private/a/b "22")']
        untagged, tagged = await c.do('GETMETADATA (DEPTH infinity MAXSIZE 2) "" /private/a')
        assert untagged == [b'METADATA "" (/private/a "1" /private/a/b "22")']
        assert tagged.startswith(b"OK [METADATA LONGENTRIES 3]")
        assert await c.ok('GETMETADATA (DEPTH 1) "" /private/x') == []
        assert await c.ok('GETMETADATA (DEPTH 1) "" (/private /shared)') == [
            b'METADATA "" (/private/a "1" /private/ab "4")'
        ]
        assert (await c.refused('SETMETADATA "" (/private "x")')).startswith(b"BAD")


async def test_limits_are_told(house, monkeypatch):
    async with house() as h:
        c = await h.login()
        big = b"x" * (metadata.MAX_VALUE + 1)
        assert (await c.refused("SETMETADATA INBOX (/private/x {})", big)).startswith(b"NO [METADATA MAXSIZE 65536]")
        monkeypatch.setattr(metadata, "MAX_ENTRIES", 2)
        assert (await c.refused('SETMETADATA "" (/private/a "" /private/b "" /private/c "")')).startswith(
            b"NO [METADATA TOOMANY]"
        )
        assert await c.ok('GETMETADATA (DEPTH 1) "" (/private/a)') == []


async def test_others_see_what_is_shared(house):
    async with house() as h:
        await h.add_user("boss@example.com", role="admin")
        c, boss = await h.login(), await h.login(user="boss@example.com")
        assert (await c.refused('SETMETADATA "" (/shared/admin "x")')).startswith(b"NO [NOPERM]")
        await boss.ok('SETMETADATA "" (/shared/admin "mailto:boss@example.com" /private/comment "secret")')
        assert await c.ok('GETMETADATA "" (/shared/admin /private/comment)') == [
            b'METADATA "" (/shared/admin "mailto:boss@example.com" /private/comment NIL)'
        ]


async def test_octets_and_the_special_use(house):
    async with house() as h:
        c = await h.login()
        await c.send(b"x SETMETADATA Junk (/private/vendor/x ~{3+}\r\na\0b)\r\n")
        assert (await c.until(b"x"))[-1].startswith(b"x OK")
        assert await c.ok("GETMETADATA Junk (/private/vendor/x /private/specialuse)") == [
            b'METADATA Junk (/private/vendor/x ~{3}\r\na\0b /private/specialuse "\\\\Junk")'
        ]
        await c.ok('SETMETADATA Junk (/private/specialuse "\\\\trash")')
        assert b"\\Trash" in (await c.ok('LIST "" Junk'))[0]
        assert (await c.refused('SETMETADATA Junk (/private/specialuse "\\\\All")')).startswith(b"NO [USEATTR]")


async def test_list_returns_entries(house):
    async with house() as h:
        c = await h.login()
        await c.ok('SETMETADATA Sent (/shared/color "#b71c1c")')
        told = await c.ok('LIST "" (Sent Junk) RETURN (METADATA ("/shared/color"))')
        assert b'METADATA Sent (/shared/color "#b71c1c")' in told
        assert b"METADATA Junk (/shared/color NIL)" in told
