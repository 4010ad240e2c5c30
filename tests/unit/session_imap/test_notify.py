"""NOTIFY: what happens in mailboxes that are not selected."""

import re

from structlog.testing import capture_logs

from pillarbox.imap.flags import SEEN
from pillarbox.session import account_view, imap_notify_following
from pillarbox.store import mailboxes, messages
from unit.session_imap.notify_client import listening, silent, told

ALL = "(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange)"
MESSAGES = "(MessageNew MessageExpunge)"


def plain(responses):
    """UIDVALIDITY and HIGHESTMODSEQ without their numbers."""
    return [re.sub(rb"(UIDVALIDITY|HIGHESTMODSEQ) \d+", rb"\1 n", one) for one in responses]


async def test_new_and_expunged_messages_give_a_status(house):
    async with house() as h:
        c = await listening(h, f"(personal {MESSAGES})")
        assert c.introduced == []
        await h.put(mailbox="Sent")
        assert plain(await told(c)) == [b"STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n)"]
        other = await h.login("Sent")
        await other.ok("STORE 1 +FLAGS (\\Flagged)")
        assert await silent(h, c)  # flags were not asked for
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        await other.ok("EXPUNGE")
        assert plain(await told(c)) == [b"STATUS Sent (MESSAGES 0 UIDNEXT 2 UIDVALIDITY n)"]
        await c.ok("NOTIFY NONE")
        await h.put(mailbox="Sent")
        assert await silent(h, c)


async def test_the_command_before_is_in_the_first_status_and_no_news(house):
    async with house() as h:
        await listening(h, f"(personal {MESSAGES})")  # the account is followed already
        c = await h.login()
        (c.capabilities,) = await c.ok("CAPABILITY")
        append = b"a APPEND Sent {8+}\r\na: b\r\n\r\n\r\n"
        await c.send(append + f"b NOTIFY SET STATUS (mailboxes Sent {MESSAGES})\r\n".encode())
        assert (await c.until(b"a"))[-1].startswith(b"a OK")
        first, _ = await c.until(b"b")
        assert plain([first]) == [b"* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n)"]
        assert await silent(h, c)


async def test_flags_of_others_are_told_by_the_mod_sequence(house):
    events = "(personal (MessageNew MessageExpunge FlagChange))"
    async with house() as h:
        await h.put(mailbox="Sent")
        with_modseq = await listening(h, events, enable="CONDSTORE")
        without = await listening(h, events)
        other = await h.login("Sent")
        await other.ok("STORE 1 +FLAGS (\\Flagged)")
        assert plain(await told(with_modseq)) == [b"STATUS Sent (UIDVALIDITY n UNSEEN 1 HIGHESTMODSEQ n)"]
        assert await silent(h, without)  # section 5.1: there is nothing that could be told
        await other.ok("STORE 1 +FLAGS (\\Seen)")
        assert plain(await told(without)) == [b"STATUS Sent (UIDVALIDITY n UNSEEN 0)"]
        await told(with_modseq)
        await h.put(mailbox="Sent", flags=SEEN)
        assert plain(await told(with_modseq)) == [b"STATUS Sent (MESSAGES 2 UIDNEXT 3 UIDVALIDITY n HIGHESTMODSEQ n)"]


async def test_a_status_at_once_if_it_is_wanted(house):
    async with house() as h:
        await h.put(mailbox="Sent")
        c = await listening(h, f"STATUS (mailboxes (Sent nowhere) {MESSAGES})")
        assert plain(c.introduced) == [b"STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n)"]
        found = await c.ok("NOTIFY SET STATUS (mailboxes (Sent) (MessageNew MessageExpunge FlagChange))")
        assert plain(found) == [b"STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n UNSEEN 1 HIGHESTMODSEQ n)"]
        assert await c.ok("NOTIFY SET STATUS (mailboxes Sent (MailboxName)) (subtree Sent NONE)") == []
        await c.ok("SELECT Sent")
        assert await c.ok(f"NOTIFY SET STATUS (mailboxes Sent {MESSAGES})") == []  # the selected one is not meant


async def test_mailboxes_are_specified(house):
    async with house() as h:
        other = await h.login()
        for name in ("a", "a/b", "a/b/c", "ab"):
            await other.ok(f"CREATE {name}")
        await other.ok("SUBSCRIBE ab")
        wanted = {
            "personal": ["INBOX", "a", "a/b", "a/b/c", "ab"],
            "inboxes": ["INBOX"],
            "subscribed": ["INBOX", "ab"],
            "subtree a": ["a", "a/b", "a/b/c"],
            'subtree ("")': ["INBOX", "a", "a/b", "a/b/c", "ab"],
            "subtree-one a": ["a", "a/b"],
            "mailboxes (a inbox)": ["INBOX", "a"],
            'mailboxes ("a/%")': [],
        }
        for specification, names in wanted.items():
            c = await listening(h, f"STATUS ({specification} {MESSAGES})")
            found = sorted(one.split()[1].decode() for one in c.introduced)
            assert [name for name in found if name in wanted["personal"]] == names, specification
            for name in wanted["personal"]:
                await h.put(mailbox=name)
            assert sorted(one.split()[1].decode() for one in await told(c, len(names))) == names
            assert await silent(h, c)


async def test_own_changes_are_not_told(house):
    async with house() as h:
        c = await listening(h, f"(personal {ALL})", enable="CONDSTORE")
        other = await listening(h, f"(personal {ALL})", enable="CONDSTORE")
        commands = {
            "CREATE a": [b'LIST (\\HasNoChildren) "/" a'],
            "CREATE a/b": [b'LIST (\\HasNoChildren) "/" a/b', b'LIST (\\HasChildren) "/" a'],
            "SUBSCRIBE a/b": [b'LIST (\\HasNoChildren \\Subscribed) "/" a/b'],
            "RENAME a/b c": [b'LIST (\\HasNoChildren \\Subscribed) "/" c ("OLDNAME" (a/b))'],
            'SETMETADATA a (/shared/comment "x" /private/comment NIL)': [
                b"METADATA a /shared/comment /private/comment"
            ],
            "APPEND a {}": [b"STATUS a (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n UNSEEN 1 HIGHESTMODSEQ n)"],
            "DELETE c": [b'LIST (\\NonExistent \\Subscribed) "/" c'],
        }
        for command, wanted in commands.items():
            literals = [b"From: a@example.com\r\n\r\nx\r\n"] * command.count("{}")
            await c.ok(command, *literals)
            assert sorted(plain(await told(other, len(wanted)))) == sorted(wanted), command
            if command.startswith("RENAME"):  # the subscription went along
                assert await told(other) == [b'LIST (\\NonExistent) "/" a/b']
        assert await silent(h, c)
        await other.ok("DELETE a")
        assert await told(c) == [b'LIST (\\NonExistent) "/" a']


async def test_a_rename_takes_along_what_is_below(house):
    async with house() as h:
        other = await h.login()
        await other.ok("CREATE a/b/c")
        c = await listening(h, f"(personal {ALL})")
        await other.ok("RENAME a x/y")
        assert sorted(await told(c, 2)) == [
            b'LIST (\\HasChildren) "/" x',
            b'LIST (\\HasChildren) "/" x/y ("OLDNAME" (a))',
        ]
        assert await silent(h, c)
        await h.put(mailbox="x/y/b/c")
        assert (await told(c))[0].startswith(b"STATUS x/y/b/c (MESSAGES 1")
        await other.ok("RENAME INBOX old")
        assert await told(c) == [b'LIST (\\HasNoChildren) "/" old']  # section 5.4: nothing is said of INBOX


async def test_renames_that_are_told_together(house):
    """Each takes along what is below."""
    async with house() as h:
        other = await h.login()
        await other.ok("CREATE a/b/c")
        await other.ok("CREATE x/y")
        c = await listening(h, f"(personal {ALL})")
        (session,) = (one for one in h.node.sessions if one.notify is not None)
        session._held = True
        view = session.notify.mine
        await h.put(mailbox="x/y")
        for command in ("RENAME a d", "RENAME d e", "CREATE e/new", "RENAME x z", "DELETE z/y"):
            await other.ok(command)
            await view.settle()
        session._retry()
        assert plain(await told(c, 6)) == [
            b'LIST (\\HasChildren) "/" e ("OLDNAME" (a))',
            b'LIST (\\HasNoChildren) "/" z ("OLDNAME" (x))',
            b'LIST (\\HasNoChildren) "/" e/new',
            b'LIST (\\HasChildren) "/" e',
            b'LIST (\\NonExistent) "/" z/y',
            b'LIST (\\HasNoChildren) "/" z',
        ]
        assert await silent(h, c)


async def test_renames_that_are_seen_together(house):
    """What the view sees at one look comes in an order that can be followed."""
    async with house() as h:
        other = await h.login()
        for name in ("a/x", "b", "c/y"):
            await other.ok(f"CREATE {name}")
        c = await listening(h, f"(personal {ALL})")
        user_id = next(iter(h.node.accounts._views))

        def rename(tx):
            for old, new in (("b", "d"), ("a", "b"), ("c/y", "a"), ("b/x", "e/x")):
                mailboxes.rename(tx, user_id, old, new)

        await h.node.store.write(rename)
        assert plain(await told(c, 5)) == [
            b'LIST (\\HasNoChildren) "/" d ("OLDNAME" (b))',
            b'LIST (\\HasNoChildren) "/" b ("OLDNAME" (a))',
            b'LIST (\\HasNoChildren) "/" e/x ("OLDNAME" (b/x))',
            b'LIST (\\HasNoChildren) "/" a ("OLDNAME" (c/y))',
            b'LIST (\\HasChildren) "/" e',
        ]
        assert await silent(h, c)


async def test_a_name_for_a_while(house):
    """Renames between which another one has happened: the first is told with what is true of the mailbox now."""
    async with house() as h:
        other = await h.login()
        for name in ("a/x", "b"):
            await other.ok(f"CREATE {name}")
        c = await listening(h, f"(personal {ALL})")
        (session,) = (one for one in h.node.sessions if one.notify is not None)
        session._held = True
        for command in ("RENAME a t", "RENAME b a", "RENAME t/x y", "RENAME t b"):
            await other.ok(command)
            await session.notify.mine.settle()
        session._retry()
        assert plain(await told(c, 4)) == [
            b'LIST (\\HasNoChildren) "/" t ("OLDNAME" (a))',
            b'LIST (\\HasNoChildren) "/" a ("OLDNAME" (b))',
            b'LIST (\\HasNoChildren) "/" y ("OLDNAME" (t/x))',
            b'LIST (\\HasNoChildren) "/" b ("OLDNAME" (t))',
        ]
        assert await silent(h, c)


async def test_two_that_change_their_names_at_once(house):
    async with house() as h:
        other = await h.login()
        for name in ("a/x", "b/y"):
            await other.ok(f"CREATE {name}")
        c = await listening(h, f"(personal {ALL})")
        user_id = next(iter(h.node.accounts._views))

        def swap(tx):
            for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
                mailboxes.rename(tx, user_id, old, new)

        await h.node.store.write(swap)
        assert sorted(plain(await told(c, 6))) == [
            b'LIST (\\HasChildren) "/" a',
            b'LIST (\\HasChildren) "/" b',
            b'LIST (\\HasNoChildren) "/" a/y ("OLDNAME" (b/y))',
            b'LIST (\\HasNoChildren) "/" b/x ("OLDNAME" (a/x))',
            b"STATUS a (MESSAGES 0 UIDNEXT 1 UIDVALIDITY n)",
            b"STATUS b (MESSAGES 0 UIDNEXT 1 UIDVALIDITY n)",
        ]


async def test_a_walk_finds_what_no_hint_told(house, monkeypatch):
    monkeypatch.setattr(account_view, "WALK_EVERY", 0.0)
    async with house() as h:
        other = await h.login()
        await other.ok("CREATE a/b")
        await other.ok("CREATE gone")
        c = await listening(h, f"(personal {ALL})", enable="CONDSTORE")
        view = next(iter(h.node.accounts._views.values()))[0]
        h.node.accounts._watch.leave_user(view.user_id, h.node.accounts)  # the hints are lost

        def change(tx):
            mailboxes.delete(tx, view.user_id, "gone")
            mailboxes.rename(tx, view.user_id, "a", "x")
            mailboxes.subscribe(tx, view.user_id, "x/b")

        await h.node.store.write(change)
        await h.put(mailbox="Sent")
        assert await silent(h, c)
        await h.node.accounts.look()
        assert sorted(plain(await told(c, 4))) == [
            b'LIST (\\HasChildren) "/" x ("OLDNAME" (a))',
            b'LIST (\\HasNoChildren \\Subscribed) "/" x/b',
            b'LIST (\\NonExistent) "/" gone',
            b"STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n UNSEEN 1 HIGHESTMODSEQ n)",
        ]


async def test_what_another_worker_commits_is_told(house):
    async with house() as h:
        sibling = await h.second_node()
        c = await listening(h, f"(personal {ALL})")
        sibling.store.on_commit(h.node.store.hint, own_only=True)  # as the datagrams do
        other = await h.login(node=sibling)
        await other.ok("CREATE new")
        assert await told(c) == [b'LIST (\\HasNoChildren) "/" new']
        await other.ok("APPEND new {}", b"From: a@example.com\r\n\r\nx\r\n")
        assert plain(await told(c)) == [b"STATUS new (MESSAGES 1 UIDNEXT 2 UIDVALIDITY n UNSEEN 1)"]


async def test_entries_of_the_server(house):
    async with house() as h:
        await h.add_user("boss@example.com", role="admin")
        c = await listening(h, "(personal (ServerMetadataChange MailboxMetadataChange))")
        other, boss = await h.login(), await h.login(user="boss@example.com")
        await other.ok('SETMETADATA "" (/private/comment "x")')
        assert await told(c) == [b'METADATA "" /private/comment']
        await boss.ok('SETMETADATA "" (/shared/admin "x" /private/comment "not for others")')
        assert await told(c) == [b'METADATA "" /shared/admin']
        await other.ok('SETMETADATA Junk (/private/specialuse "\\\\Trash" /shared/comment NIL)')
        assert await told(c) == [b"METADATA Junk /private/specialuse /shared/comment"]
        assert await silent(h, c)


async def test_too_much_ends_it(house, monkeypatch):
    monkeypatch.setattr(imap_notify_following, "MOST_NAMES", 3)
    async with house() as h:
        c = await listening(h, f"(personal {ALL})")
        user_id = next(iter(h.node.accounts._views))

        def change(tx):
            for name in "abcd":
                mailboxes.create(tx, user_id, name)

        await h.node.store.write(change)
        assert (await told(c))[0].startswith(b"OK [NOTIFICATIONOVERFLOW] ")
        assert not h.node.accounts._views
        await h.put(mailbox="a")
        assert await silent(h, c)
        monkeypatch.setattr(imap_notify_following, "MOST_FOLLOWED", 3)
        assert (await c.refused(f"NOTIFY SET (personal {ALL})")).startswith(b"NO [NOTIFICATIONOVERFLOW]")
        assert not h.node.accounts._views
        await c.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")


async def test_unsupported_events_and_what_ends_it(house):
    async with house() as h:
        c = await listening(h, f"(personal {ALL})")
        assert re.match(
            rb"NO \[BADEVENT \(MessageNew .*ServerMetadataChange\)\]", await c.refused("NOTIFY SET (personal (X))")
        )
        assert (await c.refused("NOTIFY SET (personal (FlagChange))")).startswith(b"BAD")
        await h.put(mailbox="Sent")
        assert (await told(c))[0].startswith(b"STATUS Sent")  # what was set before is still there
        await c.ok("UNAUTHENTICATE")
        assert not h.node.accounts._views
        other = await listening(h, f"(personal {ALL})")
        assert len(h.node.accounts._views) == 1
        await other.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
        assert not h.node.accounts._views


async def test_a_client_that_does_not_read_costs_the_names(house):
    """What waits for it is one entry a mailbox, however much happens there."""
    async with house() as h:
        c = await listening(h, f"(personal {ALL})")
        (session,) = (one for one in h.node.sessions if one.notify is not None)
        session._held = True  # as when the client takes nothing
        for _ in range(3):
            await h.put(*[b"From: a@example.com\r\n\r\nx\r\n"] * 50, mailbox="Sent")
            await session.notify.mine.settle()
        assert len(session.notify.untold.messages) == 1
        session._retry()
        assert plain(await told(c)) == [b"STATUS Sent (MESSAGES 150 UIDNEXT 151 UIDVALIDITY n UNSEEN 150)"]


async def test_a_new_uidvalidity_is_told(house):
    async with house() as h:
        c = await listening(h, f"(personal {ALL})")
        user_id = next(iter(h.node.accounts._views))

        def change(tx):
            box = mailboxes.find(tx, user_id, "Sent")
            tx.run("UPDATE mailboxes SET uidvalidity = ? WHERE id = ?", (mailboxes.new_uidvalidity(tx), box.id))
            tx.touch(user_id, box.id)
            return messages.open_view(tx, box.id).mailbox.uidvalidity

        uidvalidity = await h.node.store.write(change)
        assert await told(c) == [b"STATUS Sent (MESSAGES 0 UIDNEXT 1 UIDVALIDITY %d)" % uidvalidity]


async def test_news_that_come_while_an_account_is_read_for_the_first_time(house, monkeypatch):
    async with house() as h:
        c = await h.login()
        scan = h.node.store.scan

        async def interrupted(function, *args, **kw):
            found = await scan(function, *args, **kw)
            await h.put()
            return found

        monkeypatch.setattr(h.node.store, "scan", interrupted)
        with capture_logs() as logs:
            told = await c.ok("NOTIFY SET STATUS (personal (MessageNew MessageExpunge))")
        assert any(line.startswith(b"STATUS INBOX (MESSAGES 1 ") for line in told)
        assert [one for one in logs if one["log_level"] == "error"] == []
