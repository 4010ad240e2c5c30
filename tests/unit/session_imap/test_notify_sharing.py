"""NOTIFY and mailboxes of others: as long as they may be read, and not a word of those that may not."""

import asyncio

import pytest

from pillarbox.session import imap_notify_following
from pillarbox.store import directory, rights, sharing
from unit.session_imap.notify_client import listening, silent, told

BOB = "bob@example.com"
THERE = "Other Users/ada@example.com"
ALL = "(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange)"


def there(text):
    return text.replace("THERE", THERE).encode()


async def shared(house, rights="lr", specification=f'(subtree "Other Users" {ALL})'):
    """Ada, and Bob who listens and has rights in her Sent."""
    ada = await house.login()
    if rights:
        await ada.ok(f"SETACL Sent {BOB} {rights}")
    return ada, await listening(house, specification, user=BOB)


async def test_what_may_be_read_is_told(house):
    async with house() as h:
        ada, bob = await shared(h)
        await h.put(mailbox="Sent")
        assert (await told(bob))[0].startswith(there('STATUS "THERE/Sent" (MESSAGES 1 UIDNEXT 2 '))
        await ada.ok('SETMETADATA Sent (/shared/comment "x" /private/comment "hers")')
        assert await told(bob) == [there('METADATA "THERE/Sent" /shared/comment')]
        await ada.ok("CREATE Sent/Old")  # it begins with the rights of the one above
        assert await told(bob, 2) == [
            there('LIST (\\HasNoChildren) "/" "THERE/Sent/Old"'),
            there('LIST (\\HasChildren) "/" "THERE/Sent"'),
        ]
        await ada.ok("RENAME Sent Gone")
        assert await told(bob) == [there('LIST (\\HasChildren) "/" "THERE/Gone" ("OLDNAME" ("THERE/Sent"))')]
        await ada.ok("DELETE Gone/Old")
        assert await told(bob, 2) == [
            there('LIST (\\NonExistent) "/" "THERE/Gone/Old"'),
            there('LIST (\\HasNoChildren) "/" "THERE/Gone"'),
        ]
        await h.put()
        await ada.ok("CREATE secret")
        await ada.ok("RENAME secret hidden")
        await ada.ok("DELETE hidden")
        assert await silent(h, bob)


async def test_rights_that_are_missing_at_the_beginning(house):
    async with house() as h:
        ada, bob = await shared(h, "l", f'STATUS (mailboxes ("{THERE}/Sent" "{THERE}/INBOX") {ALL})')
        assert bob.introduced == [there('LIST (\\NoAccess) "/" "THERE/Sent"')]
        await h.put(mailbox="Sent")
        assert await silent(h, bob)
        await ada.ok(f"SETACL Sent {BOB} lr")
        assert await told(bob) == [there('LIST (\\HasNoChildren) "/" "THERE/Sent"')]
        await h.put(mailbox="Sent")
        assert (await told(bob))[0].startswith(there('STATUS "THERE/Sent" (MESSAGES 2 '))
        await ada.ok(f"SETACL INBOX {BOB} lr")
        assert await told(bob) == [there('LIST (\\HasNoChildren) "/" "THERE/INBOX"')]
        await h.put()
        assert (await told(bob))[0].startswith(there('STATUS "THERE/INBOX" (MESSAGES 1 '))


async def test_rights_that_are_taken_away(house):
    async with house() as h:
        ada, bob = await shared(h, "lr", f"(subscribed {ALL})")
        assert await silent(h, bob)
        await bob.ok(f'SUBSCRIBE "{THERE}/Sent"')
        await h.put(mailbox="Sent")
        assert (await told(bob))[0].startswith(there('STATUS "THERE/Sent" (MESSAGES 1 '))
        await ada.ok(f"SETACL Sent {BOB} l")
        assert await told(bob) == [there('LIST (\\NoAccess \\HasNoChildren \\Subscribed) "/" "THERE/Sent"')]
        await h.put(mailbox="Sent")
        await ada.ok(f"DELETEACL Sent {BOB}")
        assert await told(bob) == [there('LIST (\\NonExistent \\NoAccess \\Subscribed) "/" "THERE/Sent"')]
        await ada.ok('SETMETADATA Sent (/shared/comment "x")')
        await h.put(mailbox="Sent")
        assert await silent(h, bob)
        await ada.ok("SETACL Sent anyone lr")
        assert await told(bob) == [there('LIST (\\HasNoChildren \\Subscribed) "/" "THERE/Sent"')]
        await h.put(mailbox="Sent")
        assert (await told(bob))[0].startswith(there('STATUS "THERE/Sent" (MESSAGES 4 '))


async def test_a_hidden_mailbox_that_is_renamed_after_another_one_stays_hidden(house):
    async with house() as h:
        ada = await h.login()
        await ada.ok("CREATE secret/below")
        _, bob = await shared(h)
        (session,) = (one for one in h.node.sessions if one.notify is not None)
        for renamed in (("Sent Gone", "secret hidden"), ("hidden secret", "Gone Sent")):
            session._held = True
            for names in renamed:
                await ada.ok(f"RENAME {names}")
                for view in session.notify.views.values():
                    await view.settle()
            session._retry()
            lines = await bob.ok("CAPABILITY")
            assert len(lines) > 1
            assert not [line for line in lines if b"secret" in line or b"hidden" in line]


async def test_what_may_be_seen_below_a_hidden_mailbox_is_told_when_that_is_renamed(house):
    async with house() as h:
        ada = await h.login()
        await ada.ok("CREATE secret/seen")
        await ada.ok("CREATE secret/unseen")
        await ada.ok(f"SETACL secret/seen {BOB} lr")
        _, bob = await shared(h, "")
        await ada.ok("RENAME secret hidden")
        assert sorted(await told(bob, 2)) == [
            there('LIST (\\HasNoChildren) "/" "THERE/hidden/seen"'),
            there('LIST (\\NonExistent) "/" "THERE/secret/seen"'),
        ]
        assert (await told(bob))[0].startswith(there('STATUS "THERE/hidden/seen" (MESSAGES 0 '))
        assert await silent(h, bob)


@pytest.mark.parametrize("another", [False, True])
async def test_a_name_that_is_given_after_the_rights_were_taken_away_is_not_told(house, another):
    async with house() as h:
        ada = await h.login()
        await ada.ok("CREATE other")
        await ada.ok(f"SETACL other {BOB} lr")
        _, bob = await shared(h)
        (session,) = (one for one in h.node.sessions if one.notify is not None)
        session._held = True
        commands = [f"DELETEACL Sent {BOB}", "RENAME Sent secret"]
        for command in ["RENAME other thing"] * another + commands:
            await ada.ok(command)
            for view in session.notify.views.values():
                await view.settle()
        session._retry()
        *lines, _ = await bob.ok("CAPABILITY")
        assert not [line for line in lines if b"secret" in line]
        assert [line for line in lines if b"\\NonExistent" in line and b"/Sent" in line]
        assert another == any(b"/thing" in line and b"\\NonExistent" not in line for line in lines)


async def test_too_much_that_is_heard_while_rights_are_read(house, monkeypatch):
    async with house() as h:
        ada, bob = await shared(h)
        (session,) = (one for one in h.node.sessions if one.notify is not None)
        following, read = session.notify, h.node.store.read

        async def crowded(function, *args, **kw):
            if function is sharing.access:
                monkeypatch.setattr(h.node.store, "read", read)
                following.overflow()
            return await read(function, *args, **kw)

        monkeypatch.setattr(h.node.store, "read", crowded)
        await ada.ok(f"SETACL INBOX {BOB} lr")
        assert (await told(bob))[0].startswith(b"OK [NOTIFICATIONOVERFLOW]")
        assert await silent(h, bob)
        assert not h.node.accounts._views and not following.views


async def test_what_is_shared_later_is_followed(house):
    async with house() as h:
        ada, bob = await shared(h, "")
        assert len(h.node.accounts._views) == 1
        await ada.ok(f"SETACL Junk {BOB} lr")
        assert await told(bob) == [there('LIST (\\HasNoChildren) "/" "THERE/Junk"')]
        assert len(h.node.accounts._views) == 2
        await h.put(mailbox="Junk")
        assert (await told(bob))[0].startswith(there('STATUS "THERE/Junk" (MESSAGES 1 '))
        await ada.ok(f"DELETEACL Junk {BOB}")
        assert await told(bob) == [there('LIST (\\NonExistent \\NoAccess) "/" "THERE/Junk"')]
        assert len(h.node.accounts._views) == 1


async def test_others_are_followed_only_if_they_may_be_meant(house):
    async with house() as h:
        ada, bob = await shared(h, "lr", f"(personal {ALL}) (subtree Work {ALL})")
        assert len(h.node.accounts._views) == 1
        await h.put(mailbox="Sent")
        await ada.ok(f"SETACL Sent {BOB} l")
        assert await silent(h, bob)


async def test_the_rights_are_read_again_before_something_is_told(house):
    """The commit that took a right away may be heard after the one that put a message there."""
    async with house() as h:
        _, bob = await shared(h)
        session = next(one for one in h.node.sessions if one.notify is not None)
        session._held = True
        await h.put(mailbox="Sent")
        await asyncio.sleep(0)  # who waited for the commit goes on first
        for view, _ in h.node.accounts._views.values():
            await view.settle()
        assert session.notify.untold.messages
        await h.node.store.write(lambda tx: tx.run("DELETE FROM acl"))  # and nobody is told
        session._retry()
        assert await told(bob) == [there('LIST (\\NonExistent \\NoAccess) "/" "THERE/Sent"')]
        assert await silent(h, bob)


async def test_too_many_that_are_shared_at_once(house, monkeypatch):
    async with house() as h:
        ada, bob = await shared(h, "lr", f'(subtree "" {ALL})')
        monkeypatch.setattr(imap_notify_following, "MOST_NAMES", 5)
        for name in "abcdef":
            await ada.ok(f"CREATE {name}")
        assert await silent(h, bob)
        user_id = await h.node.store.read(lambda tx: directory.user(tx, "ada@example.com").id)
        await h.node.store.write(rights.change, user_id, None, BOB, "=", "lr")
        assert (await told(bob))[0].startswith(b"OK [NOTIFICATIONOVERFLOW] ")
        assert len(h.node.accounts._views) == 0
        await bob.ok(f'NOTIFY SET (subtree "" {ALL})')  # what is there already is not too much
        await h.put(mailbox="a")
        assert (await told(bob))[0].startswith(there('STATUS "THERE/a" (MESSAGES 1 '))
