"""Mail comes in: envelope, content, reply, and what is in the store when the reply has been said."""

import asyncio
import base64
import re

import pytest

from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.store import blobs, directory, routes


async def test_a_message_is_in_the_mailbox_when_250_was_said(house):
    async with house() as h:
        client = await h.greeted()
        body = b"Subject: hello\r\n\r\n..dotted\r\nline\r\n"
        reply = await client.message("eve@example.org", "ada@example.com", body)
        assert re.fullmatch(r"250 2\.0\.0 OK: Message accepted for delivery, id [0-9A-Z]{14}", reply)
        (message,) = await h.mail("ada@example.com")
        prefix, _, content = message.partition(b"Subject:")
        assert content == b" hello\r\n\r\n.dotted\r\nline\r\n"
        lines = prefix.decode().split("\r\n")
        assert lines[0] == "Return-Path: <eve@example.org>"
        assert lines[1] == "Delivered-To: ada@example.com"
        assert lines[2].startswith("Received: from client.example.org ([127.0.0.1])")
        assert "with ESMTP" in prefix.decode()
        assert "for <ada@example.com>" in re.sub(r"\s+", " ", prefix.decode())
        assert h.node.slot.get(Field.MESSAGES_RECEIVED) == 1
        assert h.node.slot.get(Field.MESSAGES_DELIVERED) == 1


async def test_the_banner_and_ehlo_are_those_of_the_contract(house):
    async with house() as h:
        client = await h.connect()
        assert await client.reply() == "220 mx.example.com ESMTP Service Ready"
        lines = (await client.say("EHLO x")).split("\n")
        assert lines[-1] == "250 HELP"
        assert not any("AUTH" in line or "STARTTLS" in line for line in lines)
        assert (await client.say("QUIT")).startswith("221 ")
        assert await client.ended()


async def test_a_pipelined_batch_is_answered_in_order(house):
    async with house() as h:
        client = await h.greeted()
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n")
        replies = [await client.reply() for _ in range(4)]
        assert [reply[:9] for reply in replies] == ["250 2.1.0", "550 5.1.1", "250 2.1.5", "354 Start"]
        await client.send(b"x: y\r\n\r\n.\r\nMAIL FROM:<a@b.example>\r\nRSET\r\nQUIT\r\n")
        replies = [await client.reply() for _ in range(4)]
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "221"]
        assert len(await h.mail("ada@example.com")) == 1


async def test_recipients_of_one_message_share_its_bytes_and_do_not_see_each_other(house):
    async with house() as h:
        client = await h.greeted()
        assert (await client.transaction("eve@example.org", "ada@example.com", "bob@example.com")).startswith("354")
        await client.send(b"Subject: x\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        ada, bob = await h.mail("ada@example.com"), await h.mail("bob@example.com")
        assert b"bob@" not in ada[0]
        assert b"ada@" not in bob[0]
        assert b"Delivered-To: bob@example.com" in bob[0]
        assert await h.rows("SELECT count(*) FROM blobs") == [(1,)]


async def test_recipients_that_lead_to_one_mailbox_get_one_copy(house):
    async with house() as h:
        await h.write(directory.add_alias, "team@example.com", "ada@example.com")
        client = await h.greeted()
        await client.transaction("", "ada@example.com", "ada+list@example.com", "team@example.com", "ADA@Example.COM")
        await client.send(b"Subject: x\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        assert len(await h.mail("ada@example.com")) == 1


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("nobody@example.com", "550 5.1.1"),
        ("ada@elsewhere.example", "550 5.7.1 Relay access denied"),
        ("ada%elsewhere.example@example.com", "550 5.1.1"),
        ("off@example.com", "550 5.2.1"),
        ("full@example.com", "452 4.2.2"),
        ("loop@example.com", "550 5.4.6"),
        ("ada@[192.0.2.1]", "550 5.7.1"),
        ("ada+tag@example.com", "250 2.1.5"),
        ("postmaster@example.com", "250 2.1.5"),
        ("Postmaster", "250 2.1.5"),
        ("postmaster@[127.0.0.1]", "250 2.1.5"),
        ("anybody@catch.example", "250 2.1.5"),
    ],
)
async def test_recipients_and_reasons(house, recipient, reply):
    async with house() as h:
        await h.add_user("off@example.com")
        await h.write(directory.set_enabled, "off@example.com", False)
        await h.add_user("full@example.com", quota_limit=10)
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 10 WHERE username = 'full@example.com'"))
        await h.write(directory.add_alias, "loop@example.com", "pool@example.com")
        await h.write(directory.add_alias, "pool@example.com", "loop@example.com")
        await h.write(directory.create_domain, "catch.example", "ada@example.com")
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>")
        assert (await client.say(f"RCPT TO:<{recipient}>")).startswith(reply)
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 0"))


async def test_a_message_larger_than_the_quota_is_refused_for_good_when_its_size_is_declared(house):
    async with house() as h:
        await h.add_user("small@example.com", quota_limit=1000)
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org> SIZE=2000")
        assert (await client.say("RCPT TO:<small@example.com>")).startswith("552 5.2.2")


async def test_an_alias_to_elsewhere_makes_a_queue_row(house):
    async with house() as h:
        await h.write(directory.add_alias, "away@example.com", "ada@elsewhere.example")
        client = await h.greeted()
        assert (await client.message("eve@example.org", "away@example.com")).startswith("250")
        ((sender, recipient, prefix, blob),) = await h.queue()
        assert (sender, recipient) == ("eve@example.org", "ada@elsewhere.example")
        assert prefix.startswith(b"Delivered-To: away@example.com\r\nReceived: ")
        assert blob is not None
        assert h.node.slot.get(Field.MESSAGES_QUEUED) == 1


async def too_large_for_one_of_two(h, sender):
    """A message to `small@example.com`, whose quota it exceeds, and to ada."""
    await h.add_user("small@example.com", quota_limit=300)
    client = await h.greeted()
    await client.transaction(sender, "small@example.com", "ada@example.com")
    await client.send(b"Subject: x\r\n\r\n" + b"y" * 500 + b"\r\n.\r\n")
    assert (await client.reply()).startswith("250")


async def test_a_recipient_that_fails_late_is_reported_and_the_others_have_the_message(house):
    async with house() as h:
        await too_large_for_one_of_two(h, "eve@example.org")
        assert await h.mail("small@example.com") == []
        assert len(await h.mail("ada@example.com")) == 1
        ((sender, recipient, _, _),) = await h.queue()
        assert (sender, recipient) == ("", "eve@example.org")


async def test_a_report_to_somebody_here_is_delivered_at_once(house):
    async with house() as h:
        await too_large_for_one_of_two(h, "bob@example.com")
        (report,) = await h.mail("bob@example.com")
        assert b"Return-Path: <>\r\n" in report
        assert b"Status: 5.2.2" in report
        assert await h.queue() == []


async def test_nobody_is_told_of_a_failure_by_the_null_sender(house):
    async with house() as h:
        await too_large_for_one_of_two(h, "")
        assert await h.queue() == []


async def test_when_nobody_can_have_it_the_client_is_told(house):
    async with house() as h:
        await h.add_user("small@example.com", quota_limit=300)
        client = await h.greeted()
        reply = await client.message("eve@example.org", "small@example.com", b"\r\n" + b"y" * 500 + b"\r\n")
        assert reply.startswith("552 5.2.2")
        assert await h.queue() == []
        assert h.node.slot.get(Field.MESSAGES_REJECTED) == 1


@pytest.mark.parametrize(("policy", "code"), [("temporary", "452 4.2.2"), ("permanent", "552 5.2.2")])
async def test_a_message_that_does_not_fit_any_more_is_refused_by_the_policy(house, policy, code):
    """Whose size nobody declared, so that RCPT could not tell."""
    async with house(quota_full=policy) as h:
        await h.add_user("near@example.com", quota_limit=1000)
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 800 WHERE username = 'near@example.com'"))
        client = await h.greeted()
        reply = await client.message("eve@example.org", "near@example.com", b"\r\n" + b"y" * 300 + b"\r\n")
        assert reply.startswith(code)
        reply = await client.message("eve@example.org", "near@example.com", b"\r\n" + b"y" * 1000 + b"\r\n")
        assert reply.startswith("552 5.2.2")  # it never will
        assert await h.queue() == [] == await h.mail("near@example.com")
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 0 WHERE username = 'near@example.com'"))


@pytest.mark.parametrize("names", [("small", "full"), ("full", "small")])
async def test_one_of_several_who_may_have_it_later_lets_the_client_try_again(house, names):
    """One reply for all: what will never fit into one mailbox does not return what will fit into another."""
    async with house() as h:
        await h.add_user("small@example.com", quota_limit=200)
        await h.add_user("full@example.com", quota_limit=1000)
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 900 WHERE username = 'full@example.com'"))
        client = await h.greeted()
        body = b"\r\n" + b"y" * 300 + b"\r\n"
        await client.say("MAIL FROM:<eve@example.org>")
        for name in names:
            assert (await client.say(f"RCPT TO:<{name}@example.com>")).startswith("250")
        await client.say("DATA")
        await client.send(body + b".\r\n")
        assert (await client.reply()).startswith("452 4.2.2")
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 0 WHERE username = 'full@example.com'"))


async def test_success_is_reported_to_who_asked_for_it(house):
    async with house() as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org> ENVID=QQ1", "RCPT TO:<ada@example.com> NOTIFY=SUCCESS", "DATA")
        await client.send(b"Subject: x\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        assert [(row[0], row[1]) for row in await h.queue()] == [("", "eve@example.org")]


async def test_lmtp_answers_for_each_recipient(house):
    async with house() as h:
        await h.add_user("small@example.com", quota_limit=300)
        client = await h.greeted(Role.LMTP)
        await client.transaction("eve@example.org", "ada@example.com", "small@example.com", "bob@example.com")
        await client.send(b"Subject: x\r\n\r\n" + b"y" * 500 + b"\r\n.\r\n")
        replies = [(await client.reply())[:9] for _ in range(3)]
        assert replies == ["250 2.0.0", "552 5.2.2", "250 2.0.0"]
        assert await h.queue() == [], "the client reports itself"
        assert b"with LMTP" in (await h.mail("ada@example.com"))[0]
        assert h.node.slot.get(Field.LMTP_MESSAGES_RECEIVED) == 1


@pytest.mark.parametrize("body", [b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n", b"x\n.\r\nMAIL FROM:<eve@x>\r\n"])
async def test_bare_line_ends_and_nul_are_refused_after_the_true_end(house, body):
    async with house() as h:
        client = await h.greeted()
        assert (await client.message("eve@example.org", "ada@example.com", body)).startswith("554 5.6.0")
        assert (await client.say("NOOP")).startswith("250")
        assert await h.mail("ada@example.com") == []


async def test_a_message_with_too_many_hops_goes_round_in_circles(house):
    async with house() as h:
        client = await h.greeted()
        hops = b"Received: from a by b; now\r\n"
        assert (await client.message("", "ada@example.com", hops * 101 + b"\r\n")).startswith("554 5.4.6")
        assert (await client.message("", "ada@example.com", hops * 100 + b"\r\n")).startswith("250")


async def in_chunks(client, content, recipient="ada@example.com"):
    """The answer to content that goes by BDAT, in two chunks."""
    await client.say("MAIL FROM:<eve@example.org> BODY=BINARYMIME", f"RCPT TO:<{recipient}>")
    await client.send(b"BDAT 20\r\n" + content[:20] + b"BDAT %d LAST\r\n" % (len(content) - 20) + content[20:])
    assert (await client.reply()).startswith("250")
    return await client.reply()


async def test_chunks_arrive_as_they_are(house):
    async with house() as h:
        client = await h.greeted()
        content = b"Subject: b\r\n\r\nbare \r and \n\r\n.\r\nend"
        assert (await in_chunks(client, content)).startswith("250 2.0.0 OK: Message accepted")
        (message,) = await h.mail("ada@example.com")
        assert message.endswith(content)


async def test_chunks_with_nul_are_encoded_for_a_mailbox(house):
    async with house() as h:
        client = await h.greeted()
        content = b"Subject: b\r\n\r\nbare \r and \n and \0\r\n.\r\nend"
        assert (await in_chunks(client, content)).startswith("250 2.0.0 OK: Message accepted")
        (message,) = await h.mail("ada@example.com")
        header, _, body = message.partition(b"\r\n\r\n")
        assert header.endswith(b"\r\nContent-Transfer-Encoding: base64")
        assert base64.b64decode(body) == content[14:]
        assert h.node.memory.used == 0


async def test_chunks_with_nul_pass_through_as_they_are(house):
    async with house() as h:
        await h.write(routes.create_route, "second", "backup")
        await h.write(routes.add_rule, "recipient", "elsewhere.example", "second", accept=True)
        client = await h.greeted()
        content = b"Subject: b\r\n\r\nbare \r and \n and \0\r\n.\r\nend"
        reply = await in_chunks(client, content, "who@elsewhere.example")
        assert reply.startswith("250 2.0.0 OK: Message accepted")
        ((_, _, _, blob_id),) = await h.queue()
        assert await h.node.store.read(blobs.read_slice, blob_id, 0, 1000) == content


@pytest.mark.parametrize("role", [Role.SMTP, Role.LMTP])
async def test_a_nul_that_cannot_be_encoded_is_refused(house, role):
    async with house() as h:
        client = await h.greeted(role)
        assert (await in_chunks(client, b"Subject: a NUL \0 in it\r\n\r\ntext\r\n")).startswith("554 5.6.3 ")
        signed = (
            b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b\r\n\r\nsignature\r\n--b--\r\n"
        )
        assert (await in_chunks(client, signed)).startswith("554 5.6.3 ")
        assert (await client.say("NOOP")).startswith("250")
        assert await h.mail("ada@example.com") == []
        assert h.node.memory.used == 0
        for _ in range(500):  # what waited while it was encoded is freed
            if not (left := await h.rows("SELECT id FROM blobs")):
                break
            await asyncio.sleep(0.01)
        assert left == []


async def test_a_chunk_that_nobody_means_to_send_ends_the_conversation(house):
    async with house() as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>", "RCPT TO:<ada@example.com>")
        await client.send(b"BDAT 600000\r\n" + b"x" * 600_000 + b"BDAT 99999999999999999999 LAST\r\nQUIT\r\n")
        assert (await client.reply()).startswith("250")
        assert (await client.reply()).startswith("552 5.3.4 ")
        assert await client.ended()
        assert await h.mail("ada@example.com") == []


async def test_the_test_inbox_makes_a_mailbox_for_anybody(house):
    async with house(accept_all=True) as h:
        client = await h.greeted()
        assert (await client.message("eve@example.org", "who+ever@new.example")).startswith("250")
        assert len(await h.mail("who@new.example")) == 1
        assert (await client.message("eve@example.org", "who@new.example")).startswith("250")
        assert len(await h.mail("who@new.example")) == 2


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(house):
    async with house() as h:
        client = await h.greeted()
        await client.transaction("eve@example.org", "ada@example.com")
        await client.send(b"Subject: x\r\n\r\nhalf")
        client.close()
        other = await h.greeted()
        assert (await other.say("NOOP")).startswith("250")
        assert await h.mail("ada@example.com") == []


async def test_a_client_that_shuts_its_side_still_gets_its_replies(house):
    async with house() as h:
        client = await h.greeted()
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n" + b"x: y\r\n\r\n.\r\nNOOP\r\n")
        client.writer.write_eof()
        replies = [(await client.reply())[:3] for _ in range(5)]
        assert replies == ["250", "250", "354", "250", "250"]
        assert await client.ended()


async def test_mail_for_postmaster_waits_for_the_first_account(house):
    async with house(users=()) as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<>")
        assert (await client.say("RCPT TO:<Postmaster>")).startswith("450 4.2.1")
        await h.add_user("ada@example.com")
        assert (await client.say("RCPT TO:<Postmaster>")).startswith("250")
        assert (await client.say("RCPT TO:<postmaster@example.com>")).startswith("250")


async def test_a_full_mailbox_refuses_for_good_where_that_is_the_policy(house):
    async with house(quota_full="permanent") as h:
        await h.add_user("full@example.com", quota_limit=10)
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 10 WHERE username = 'full@example.com'"))
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>")
        assert (await client.say("RCPT TO:<full@example.com>")).startswith("552 5.2.2")
        await h.write(lambda tx: tx.run("UPDATE users SET quota_used = 0"))
