"""Mailboxes that are shared: rights as RFC 4314 wants them, names below Other Users, changes seen by all."""

import re
from contextlib import asynccontextmanager

import pytest

from pillarbox.store import directory, mailboxes, rights

BOB = "bob@example.com"
THERE = "Other Users/ada@example.com"


def listed(responses, verb=b"LIST"):
    """name -> its attributes."""
    found = (re.fullmatch(rb'%b \(([^)]*)\) "/" (.*)' % verb, one) for one in responses)
    return {match[2].strip(b'"'): set(match[1].decode().split()) for match in found if match}


def names(responses):
    return [name.decode() for name in listed(responses)]


@asynccontextmanager
async def two(house, rights=None, mailbox="INBOX"):
    """Ada, and Bob with rights on one of her mailboxes."""
    async with house() as h:
        ada, bob = await h.login(), await h.login(user=BOB)
        if rights is not None:
            await ada.ok(f"SETACL {mailbox} {BOB} {rights}")
        yield h, ada, bob


async def test_the_owner_has_every_right(house):
    async with two(house) as (_, ada, _bob):
        assert await ada.ok("MYRIGHTS INBOX") == [b"MYRIGHTS INBOX lrswipkxtencda"]
        assert await ada.ok("GETACL INBOX") == [b"ACL INBOX ada@example.com lrswipkxtencda"]
        assert await ada.ok("LISTRIGHTS INBOX ada@example.com") == [b"LISTRIGHTS INBOX ada@example.com lrswipkxtencda"]
        assert await ada.ok(f"LISTRIGHTS INBOX {BOB}") == [
            b'LISTRIGHTS INBOX bob@example.com "" l r s w i p k x t e n a c d'
        ]
        assert (await ada.refused("SETACL INBOX ada@example.com l")).startswith(b"NO [CANNOT]")
        assert (await ada.refused("SETACL INBOX nobody l")).startswith(b"NO [NONEXISTENT]")


async def test_a_name_below_other_users_may_be_longer_than_ones_own(house):
    deep = "/".join("a" * 30)
    async with two(house) as (_, ada, bob):
        await bob.ok("ENABLE IMAP4rev2")
        await ada.ok(f"CREATE {deep}")
        await ada.ok(f"SETACL {deep} {BOB} lrkx")
        await ada.ok(f"SETACL {deep[:-2]} {BOB} lrk")
        assert await bob.ok(f'RENAME "{THERE}/{deep}" "{THERE}/{deep[:-1]}b"') == []
        assert await bob.ok(f'DELETE "{THERE}/{deep[:-1]}b"') == []
        assert await ada.ok(f'LIST "" {deep[:-1]}%') == []


async def test_rights_are_set_added_and_taken(house):
    async with two(house, "lr") as (_, ada, bob):
        await ada.ok(f"SETACL INBOX {BOB} +d")
        assert await ada.ok("GETACL INBOX") == [b"ACL INBOX ada@example.com lrswipkxtencda bob@example.com lrted"]
        assert await bob.ok(f'MYRIGHTS "{THERE}/INBOX"') == [f'MYRIGHTS "{THERE}/INBOX" lrted'.encode()]
        await ada.ok(f"SETACL INBOX -{BOB} e")
        assert (await bob.ok(f'MYRIGHTS "{THERE}/INBOX"'))[0].endswith(b" lrtd")
        await ada.ok(f"SETACL INBOX {BOB} -t")
        assert (await bob.ok(f'MYRIGHTS "{THERE}/INBOX"'))[0].endswith(b" lr")
        assert (await bob.refused(f'GETACL "{THERE}/INBOX"')).startswith(b"NO [NOPERM]")
        await ada.ok(f"DELETEACL INBOX {BOB}")
        assert (await bob.refused(f'MYRIGHTS "{THERE}/INBOX"')).startswith(b"NO [NONEXISTENT]")
        await ada.ok("SETACL Sent anyone lr")
        assert (await bob.ok(f'MYRIGHTS "{THERE}/Sent"'))[0].endswith(b" lr")


async def test_what_is_shared_is_listed_below_its_namespace(house):
    async with two(house, "lr", "Sent") as (_, ada, bob):
        assert await bob.ok("NAMESPACE") == [b'NAMESPACE (("" "/")) (("Other Users/" "/")) NIL']
        tree = listed(await bob.ok('LIST "" "Other Users*"'))
        assert tree == {
            b"Other Users": {"\\NonExistent", "\\Noselect", "\\HasChildren"},
            THERE.encode(): {"\\NonExistent", "\\Noselect", "\\HasChildren"},
            f"{THERE}/Sent".encode(): {"\\HasNoChildren"},  # not Bob's \Sent
        }
        assert names(await bob.ok('LIST "Other Users/" "%/%"')) == [f"{THERE}/Sent"]
        told = await bob.ok(f'LIST "" "{THERE}/*" RETURN (MYRIGHTS STATUS (MESSAGES))')
        assert f'MYRIGHTS "{THERE}/Sent" lr'.encode() in told
        assert f'STATUS "{THERE}/Sent" (MESSAGES 0)'.encode() in told
        await ada.ok(f"SETACL Sent {BOB} l")
        told = await bob.ok(f'LIST "" "{THERE}/*" RETURN (STATUS (MESSAGES))')
        assert told == [f'LIST (\\Noselect \\HasNoChildren) "/" "{THERE}/Sent"'.encode()]  # RFC 5819 section 2
        assert b"MYRIGHTS INBOX lrswipkxtencda" in await bob.ok('LIST "" INBOX RETURN (MYRIGHTS)')
        assert not any(b"Other" in one for one in await ada.ok('LIST "" *'))
        await ada.ok(f"SETACL Sent {BOB} r")
        assert names(await bob.ok('LIST "" "Other Users*"')) == []
        await bob.ok(f'SUBSCRIBE "{THERE}/Sent"')
        assert f"{THERE}/Sent" in [name.decode() for name in listed(await bob.ok('LSUB "" *'), b"LSUB")]


async def test_reading_only(house):
    async with two(house, "lr") as (h, _ada, bob):
        await h.put()
        untagged, tagged = await bob.do(f'SELECT "{THERE}/INBOX"')
        assert tagged.startswith(b"OK [READ-ONLY]")
        assert any(b"PERMANENTFLAGS ()" in one for one in untagged)
        assert b"How about lunch" in (await bob.ok("FETCH 1 BODY[TEXT]"))[0]
        assert b"\\Seen" not in (await bob.ok("FETCH 1 FLAGS"))[0]
        for command in ("STORE 1 FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 Archive"):
            assert (await bob.refused(command)).startswith(b"NO [READ-ONLY]")
        assert (await bob.refused(f'APPEND "{THERE}/INBOX" {{}}', b"Subject: x\r\n\r\n")).startswith(b"NO [NOPERM]")
        await bob.ok("COPY 1 INBOX")
        assert await bob.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 1)"]
        assert (await bob.refused(f'COPY 1 "{THERE}/INBOX"')).startswith(b"NO [NOPERM]")


@pytest.mark.parametrize(
    ("rights", "stored", "kept"),
    [("lrs", "\\Seen \\Deleted \\Flagged word", "\\Seen"), ("lrt", "\\Seen \\Deleted word", "\\Deleted")],
)
async def test_only_permitted_flags_change(house, rights, stored, kept):
    async with two(house, rights) as (h, ada, bob):
        await h.put(flags=2)
        told = await bob.ok(f'SELECT "{THERE}/INBOX"')
        assert any(b"PERMANENTFLAGS (%b)" % kept.encode() in one for one in told)
        assert (await bob.refused("STORE 1 +FLAGS (\\Draft)")).startswith(b"NO [NOPERM]")
        await bob.ok(f"STORE 1 FLAGS ({stored})")
        await ada.ok("SELECT INBOX")
        (line,) = await ada.ok("FETCH 1 FLAGS")
        words = set(line.decode().partition("(FLAGS (")[2].rstrip(")").split()) - {"\\Recent"}
        assert words - {"\\Answered", "\\Flagged", "\\Draft"} == {kept}
        assert (await bob.refused("EXPUNGE")).startswith(b"NO [NOPERM]")


async def test_changes_of_each_are_seen_by_the_other(house):
    async with two(house, "lrswite") as (h, ada, bob):
        await ada.ok("SELECT INBOX")
        await bob.ok(f'SELECT "{THERE}/INBOX"')
        await bob.ok(f'APPEND "{THERE}/INBOX" (\\Flagged) {{}}', b"Subject: x\r\n\r\nx")
        assert b"1 EXISTS" in await ada.ok("NOOP")
        await ada.send(b"i IDLE\r\n")
        assert (await ada.response()).startswith(b"+")
        await bob.ok("STORE 1 +FLAGS (\\Deleted)")
        assert b"\\Deleted" in await ada.response()
        await bob.ok("EXPUNGE")
        assert await ada.response() == b"* 1 EXPUNGE"
        await ada.send(b"DONE\r\n")
        await ada.until(b"i")
        await h.put()
        assert b"1 EXISTS" in await ada.ok("NOOP")
        await bob.ok("NOOP")
        await bob.ok("MOVE 1 INBOX")
        assert await bob.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 1)"]
        assert b"1 EXPUNGE" in await ada.ok("NOOP")


@pytest.mark.parametrize("command", ["FETCH 1:* (FLAGS)", "FETCH 1:* ALL", "STORE 1:* +FLAGS (\\Seen)"])
async def test_a_command_is_about_the_messages_that_were_told(house, command):
    """Whoever asks by number means those it knows of: what others have put in is told at the command's end."""
    async with two(house, "lrs") as (h, ada, bob):
        await h.put(b"one", b"two")
        await bob.ok(f'SELECT "{THERE}/INBOX"')
        await ada.ok("SELECT INBOX")
        await ada.ok("COPY 1:2 INBOX")
        told = await bob.ok(command)
        numbers = [one.split()[0] for one in told if b" FETCH " in one]
        assert numbers == [b"1", b"2"]
        assert b"4 EXISTS" in told
        assert (await bob.ok("FETCH 3:4 (UID)")) == [b"3 FETCH (UID 3)", b"4 FETCH (UID 4)"]


async def test_who_loses_the_right_loses_the_mailbox(house):
    async with two(house, "lrs") as (_, ada, bob):
        await bob.ok(f'SELECT "{THERE}/INBOX"')
        await ada.ok(f"SETACL INBOX {BOB} lrsw")
        await bob.ok("NOOP")
        await ada.ok(f"DELETEACL INBOX {BOB}")
        assert (await bob.refused("FETCH 1:* BODY[]")).startswith(b"NO [NOPERM]")
        assert (await bob.response()).startswith(b"* BYE ")


async def test_what_is_recent_is_so_for_its_owner(house):
    async with two(house, "lrs") as (h, ada, bob):
        await h.put()
        await bob.ok(f'SELECT "{THERE}/INBOX"')
        await bob.ok("UNSELECT")
        assert b"1 RECENT" in await ada.ok("SELECT INBOX")


async def test_an_account_shared_from_the_command_line_is_noticed_by_a_session(house):
    async with two(house, "lrs") as (h, _ada, bob):
        await bob.ok(f'SELECT "{THERE}/INBOX"')
        other = await h.second_node()
        await other.store.write(_take_back)
        h.node.store.notice_changes(h.node.watch.mailboxes())
        assert (await bob.refused("FETCH 1:* BODY[]")).startswith(b"NO [NOPERM]")


def _take_back(tx):
    owner = directory.user(tx, "ada@example.com")
    inbox = mailboxes.find(tx, owner.id, "INBOX")
    rights.change(tx, owner.id, inbox.id, BOB, "=", "")


async def test_folders_are_made_moved_and_deleted_with_their_rights(house):
    async with two(house, "lrk", "Archive") as (_, ada, bob):
        await bob.ok(f'CREATE "{THERE}/Archive/2024"')
        assert (await bob.ok(f'MYRIGHTS "{THERE}/Archive/2024"'))[0].endswith(b" lrkc")
        assert (await bob.refused(f'DELETE "{THERE}/Archive/2024"')).startswith(b"NO [NOPERM]")
        assert (await bob.refused(f'CREATE "{THERE}/new"')).startswith(b"NO [NOPERM]")
        assert (await bob.refused('CREATE "Other Users/nobody/x"')).startswith(b"NO [NOPERM]")
        await ada.ok(f"SETACL Archive/2024 {BOB} +x")
        assert (await bob.refused(f'RENAME "{THERE}/Archive/2024" mine')).startswith(b"NO [CANNOT]")
        await bob.ok(f'RENAME "{THERE}/Archive/2024" "{THERE}/Archive/2025"')
        await bob.ok(f'DELETE "{THERE}/Archive/2025"')
        assert names(await ada.ok('LIST "" Archive/*')) == []


async def test_metadata_quota_and_urls_follow_the_rights(house):
    async with two(house, "lr") as (h, ada, bob):
        await h.put()
        await bob.ok(f'SETMETADATA "{THERE}/INBOX" (/private/comment "mine")')
        assert (await bob.refused(f'SETMETADATA "{THERE}/INBOX" (/shared/comment "x")')).startswith(b"NO [NOPERM]")
        await ada.ok('SETMETADATA INBOX (/shared/comment "ours")')
        told = await bob.ok(f'GETMETADATA "{THERE}/INBOX" (/shared/comment /private/comment)')
        assert told[0].endswith(b'(/shared/comment "ours" /private/comment "mine")')
        assert (await bob.ok(f'GETQUOTAROOT "{THERE}/INBOX"'))[0].endswith(b'INBOX"')
        found = await bob.ok(f'ESEARCH IN (SUBTREE "{THERE}") ALL')
        assert any(f'MAILBOX "{THERE}/INBOX"'.encode() in one for one in found)
        await ada.ok(f"SETACL INBOX {BOB} l")
        assert (await bob.refused(f'STATUS "{THERE}/INBOX" (MESSAGES)')).startswith(b"NO [NOPERM]")
        assert (await bob.refused(f'SELECT "{THERE}/INBOX"')).startswith(b"NO [NOPERM]")
