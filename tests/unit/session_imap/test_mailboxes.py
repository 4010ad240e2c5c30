"""CREATE, DELETE, RENAME, SUBSCRIBE, LIST with its extensions, LSUB."""

import re
import unicodedata

FIRST = {b"INBOX", b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"}


def listed(responses, verb=b"LIST"):
    """name -> its attributes, as strings; CHILDINFO among them."""
    found = {}
    for response in responses:
        match = re.fullmatch(rb'%b \(([^)]*)\) "/" ("[^"]*"|\S+)(?: \((.*)\))?' % verb, response)
        if match:
            found[match[2].strip(b'"')] = set(match[1].decode().split()) | ({match[3].decode()} if match[3] else set())
    return found


async def test_list_shows_special_uses_and_children(house):
    async with house() as h:
        c = await h.login()
        await c.ok("CREATE Archive/2020/May")
        tree = listed(await c.ok('LIST "" *'))
        assert set(tree) == FIRST | {b"Archive/2020", b"Archive/2020/May"}
        assert tree[b"Archive"] == {"\\HasChildren", "\\Archive"}
        assert tree[b"Archive/2020/May"] == {"\\HasNoChildren"}
        assert next(iter(tree)) == b"INBOX"
        assert set(listed(await c.ok('LIST "" %'))) == FIRST
        assert set(listed(await c.ok("LIST Archive/ %"))) == {b"Archive/2020"}
        assert set(listed(await c.ok('LIST "" inbox'))) == {b"INBOX"}
        assert await c.ok('LIST "" ""') == [b'LIST (\\Noselect) "/" ""']


async def test_create_and_its_errors(house):
    async with house() as h:
        c = await h.login()
        await c.ok("CREATE Work/")
        assert (await c.refused("CREATE Work")).startswith(b"NO [ALREADYEXISTS]")
        assert (await c.refused("CREATE inbox")).startswith(b"NO [ALREADYEXISTS]")
        assert (await c.refused('CREATE "a//b"')).startswith(b"NO [CANNOT]")
        await c.ok("CREATE Gone (USE (\\Trash))")
        assert listed(await c.ok('LIST "" Gone'))[b"Gone"] == {"\\HasNoChildren", "\\Trash"}
        assert b"[USEATTR]" in await c.refused("CREATE Everything (USE (\\All))")
        await c.ok("SELECT Gone")


async def test_names_in_utf7_and_utf8(house):
    async with house() as h:
        old, new = await h.login(), await h.login(enable="IMAP4rev2")
        await old.ok("CREATE Entw&APw-rfe")
        assert b"Entw&APw-rfe" in listed(await old.ok('LIST "" E*'))
        assert "Entwürfe".encode() in listed(await new.ok('LIST "" E*'))
        assert (await new.ok("STATUS {} (MESSAGES)", "Entwürfe".encode()))[0].startswith(b"STATUS ")
        told = await new.ok("SELECT {}", unicodedata.normalize("NFD", "Entwürfe").encode())
        assert any(b'"OLDNAME" (' in one and "Entwürfe".encode() in one for one in told)
        assert await new.ok('LIST "" ("")') == []


async def test_names_that_were_written_otherwise_are_told(house):
    """RFC 9051 sections 6.3.4 to 6.3.6; a delimiter at the end is no other name."""
    async with house() as h:
        old, new = await h.login(), await h.login(enable="IMAP4rev2")
        nfd, nfc = "e\u0301", "\u00e9"

        async def told(command):
            return [one.decode() for one in await new.ok(command.encode())]

        assert await told("CREATE a/") == []
        assert await told(f'CREATE "{nfd}/"') == [f'LIST () "/" "{nfc}" ("OLDNAME" ("{nfd}"))']
        assert await told(f'LIST "" "{nfd}"') == [f'LIST (\\HasNoChildren) "/" "{nfc}"']
        assert await told(f'LIST "{nfd}" "%"') == [f'LIST (\\HasNoChildren) "/" "{nfc}"']
        assert await told(f'RENAME "{nfd}" b') == [f'LIST () "/" b ("OLDNAME" ("{nfd}"))']
        assert await told(f'RENAME b "{nfd}"') == [f'LIST () "/" "{nfc}" ("OLDNAME" (b))']
        assert await told(f'RENAME "{nfc}" b') == []
        await told(f'RENAME b "{nfc}"')
        assert await told(f'DELETE "{nfd}"') == [f'LIST (\\NonExistent) "/" "{nfc}" ("OLDNAME" ("{nfd}"))']
        assert await told("DELETE a") == []
        for command in ("CREATE e&AwE-", "RENAME e&AwE- u&AwE-", "DELETE u&AwE-"):
            assert await old.ok(command) == []  # RFC 3501 knows no such response


async def test_delete(house):
    async with house() as h:
        c, other = await h.login(), await h.login()
        await c.ok("CREATE a/b")
        await c.ok("SELECT a")
        assert (await c.ok("DELETE a"))[0].startswith(b"OK [CLOSED]")
        assert (await c.refused("FETCH 1 FLAGS")).startswith(b"BAD")
        tree = listed(await c.ok('LIST "" a*'))
        assert tree[b"a"] == {"\\NonExistent", "\\Noselect", "\\HasChildren"}
        assert (await c.refused("DELETE a")).startswith(b"NO [NONEXISTENT]")
        assert (await c.refused("DELETE INBOX")).startswith(b"NO [CANNOT]")
        await other.ok("SELECT a/b")
        await c.ok("DELETE a/b")
        told, _ = await other.do("NOOP")
        assert told == []
        assert (await other.response()).startswith(b"* BYE The selected mailbox has gone")


async def test_rename(house):
    async with house() as h:
        await h.put()
        c, other = await h.login(), await h.login()
        await c.ok("CREATE old/below")
        await other.ok("SELECT old/below")
        await c.ok("RENAME old new")
        assert set(listed(await c.ok('LIST "" new*'))) == {b"new", b"new/below"}
        await h.put(mailbox="new/below")
        assert b"1 EXISTS" in await other.ok("NOOP")  # who has it open keeps it
        assert (await c.refused("RENAME nothing x")).startswith(b"NO [NONEXISTENT]")
        assert (await c.refused("RENAME new Sent")).startswith(b"NO [ALREADYEXISTS]")
        await c.ok("RENAME INBOX Saved")
        assert await c.ok("STATUS Saved (MESSAGES)") == [b"STATUS Saved (MESSAGES 1)"]
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]


async def test_subscriptions(house):
    async with house() as h:
        c = await h.login()
        assert set(listed(await c.ok('LSUB "" *'), b"LSUB")) == FIRST
        await c.ok("UNSUBSCRIBE Junk")
        await c.ok("SUBSCRIBE deep/down/there")
        assert listed(await c.ok('LSUB "" %'), b"LSUB")[b"deep"] == {"\\Noselect"}
        tree = listed(await c.ok('LIST (SUBSCRIBED) "" *'))
        assert b"Junk" not in tree
        assert tree[b"deep/down/there"] == {"\\NonExistent", "\\Noselect", "\\HasNoChildren", "\\Subscribed"}
        tree = listed(await c.ok('LIST "" * RETURN (SUBSCRIBED CHILDREN)'))
        assert "\\Subscribed" in tree[b"Sent"]
        assert "\\Subscribed" not in tree[b"Junk"]


async def test_recursive_match(house):
    async with house() as h:
        c = await h.login()
        await c.ok("CREATE foo/bar")
        await c.ok("CREATE foo2")
        await c.ok("SUBSCRIBE foo/bar")
        tree = listed(await c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" (foo% fo%)'))
        assert tree == {b"foo": {"\\HasChildren", '"CHILDINFO" ("SUBSCRIBED")'}}
        # Where the child is listed itself, its parent says nothing more (RFC 5258 section 3.5).
        assert set(listed(await c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" foo*'))) == {b"foo/bar"}
        await c.ok("SUBSCRIBE foo")
        tree = listed(await c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" foo*'))
        assert '"CHILDINFO" ("SUBSCRIBED")' in tree[b"foo"]
        assert set(tree) == {b"foo", b"foo/bar"}


async def test_special_use_selection_and_status_return(house):
    async with house() as h:
        await h.put(mailbox="Sent")
        c = await h.login()
        responses = await c.ok('LIST (SPECIAL-USE) "" * RETURN (SPECIAL-USE STATUS (MESSAGES UNSEEN))')
        assert set(listed(responses)) == FIRST - {b"INBOX"}
        at = next(n for n, one in enumerate(responses) if one.endswith(b" Sent"))
        assert responses[at + 1] == b"STATUS Sent (MESSAGES 1 UNSEEN 1)"
        await c.ok("SUBSCRIBE nowhere")
        responses = await c.ok('LIST (SUBSCRIBED) "" nowhere RETURN (STATUS (MESSAGES))')
        assert len(responses) == 1  # no STATUS of what does not exist
