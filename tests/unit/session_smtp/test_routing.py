"""What a client is answered for aliases, lists, return addresses of ours, and domains that operators' rules accept."""

from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.flow import srs
from pillarbox.flow.telling import sentences
from pillarbox.store import directory, events, lists, routes, tracing

LIST = "team@example.com"


async def team(h, **options):
    await h.write(lists.create_list, LIST, "bob@example.com", **options)
    await h.write(lists.add_members, LIST, ["ada@example.com", "carl@elsewhere.example"])


async def test_a_stranger_may_not_post_to_a_list_of_members(house):
    async with house() as h:
        await team(h)
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>")
        assert (await client.say(f"RCPT TO:<{LIST}>")).startswith("550 5.7.2 You may not send to this list")
        assert (await client.say("RCPT TO:<ada@example.com>")).startswith("250")
        await client.say("RSET", "MAIL FROM:<>")
        assert (await client.say(f"RCPT TO:<{LIST}>")).startswith("550 5.7.2")
        assert (await client.say("RCPT TO:<team-bounces@example.com>")).startswith("250")
        await client.say("RSET", "MAIL FROM:<Carl@elsewhere.example>")
        assert (await client.say(f"RCPT TO:<{LIST}>")).startswith("250")


async def test_a_post_is_in_mailboxes_and_queue_when_250_was_said(house):
    async with house() as h:
        await team(h, posting="anyone")
        client = await h.greeted()
        assert (await client.message("eve@example.org", LIST)).startswith("250")
        (mail,) = await h.mail("ada@example.com")
        assert b"List-Id: <team.example.com>\r\n" in mail
        ((sender, recipient, prefix, _),) = await h.queue()
        assert (sender, recipient) == ("team-bounces@example.com", "carl@elsewhere.example")
        assert h.node.slot.get(Field.MESSAGES_QUEUED) == h.node.slot.get(Field.MESSAGES_DELIVERED) == 1
        again = prefix + b"Subject: x\r\n\r\nhello\r\n"  # what carl got comes back
        assert (await client.message("carl@elsewhere.example", LIST, again)).startswith("554 5.4.6 Mail loop")
        assert len(await h.queue()) == 1


async def test_the_story_is_found_by_the_address_that_the_sender_wrote_to(house):
    async with house() as h:
        await team(h, posting="anyone")
        await h.write(directory.add_alias, "away@example.com", "carl@elsewhere.example")
        client = await h.greeted()
        for recipients in ((LIST,), ("away@example.com",), ("ada+detail@example.com",)):
            await client.message("eve@example.org", *recipients)
        await h.node.story.flush()
        for recipient in (LIST, "away@example.com", "ada+detail@example.com"):
            (key,) = await h.node.store.scan(tracing.keys_of_address, recipient, 0)
            told = [text for _, text in sentences(await h.node.store.read(events.events_of_message, key))]
            assert told[0].startswith("accepted from ")
            assert ("detail" in recipient) != (told[1] == f"taken for {recipient}, which leads elsewhere")
            assert not any("accepted from" in text for text in told[1:])


async def test_the_members_are_asked_anew_after_every_change(house):
    async with house() as h:
        await team(h)
        client = await h.greeted()
        for change, reply in (
            (lists.add_members, "250"),
            (lambda tx, name, who: lists.remove_member(tx, name, who[0]), "550 5.7.2"),
        ):
            await h.write(change, LIST, ["eve@example.org"])
            await client.say("RSET", "MAIL FROM:<eve@example.org>")
            assert (await client.say(f"RCPT TO:<{LIST}>")).startswith(reply)


async def test_a_bounce_finds_the_way_back_to_a_forwarded_sender(house):
    async with house() as h:
        rewriter = await srs.open_rewriter(h.node.store)
        now = h.node.clock()
        good = rewriter.rewrite("Eve.With.A.Name.That.Is.Longer.Than.Most@mail.example.org", "example.com", now)
        assert len(good.partition("@")[0]) > 64
        forged = good.replace("Eve", "Evil")
        old = rewriter.rewrite("eve@example.org", "example.com", now - 23 * 86400)
        client = await h.greeted()
        await client.say("MAIL FROM:<>")
        assert (await client.say(f"RCPT TO:<{forged}>")).startswith("550 5.1.1 This return address")
        assert (await client.say(f"RCPT TO:<{old}>")).startswith("550 5.1.1 This return address")
        assert (await client.say(f"RCPT TO:<{good.replace('example.com', 'elsewhere.example')}>")).startswith(
            "550 5.7.1"
        )
        assert (await client.say(f"RCPT TO:<{good.lower()}>")).startswith("250")
        await client.say("RSET")
        assert (await client.message("", good)).startswith("250")
        ((sender, recipient, prefix, _),) = await h.queue()
        assert (sender, recipient) == ("", "Eve.With.A.Name.That.Is.Longer.Than.Most@mail.example.org")
        assert prefix.startswith(f"Delivered-To: {good}\r\nReceived: ".encode())


async def test_return_addresses_are_refused_where_none_was_ever_made(house):
    async with house() as h:
        await h.write(directory.create_domain, "catch.example", "ada@example.com")
        client = await h.greeted()
        await client.say("MAIL FROM:<>")
        for domain in ("example.com", "catch.example"):
            reply = await client.say(f"RCPT TO:<SRS0=ABCDEF=AB=example.org=eve@{domain}>")
            assert reply.startswith("550 5.1.1")


async def test_strangers_may_send_to_what_a_rule_accepts_and_nowhere_else(house):
    async with house() as h:
        await h.write(routes.create_route, "second", "backup")
        await h.write(routes.create_route, "smart", "smarthost", host="smart.example")
        await h.write(routes.add_rule, "recipient", "customer.example", "second", accept=True)
        await h.write(routes.add_rule, "recipient", "*", "smart")
        await h.write(routes.add_rule, "sender", "example.org", "smart")
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>")
        for recipient in ("bob@elsewhere.example", "bob@sub.customer.example", "bob%elsewhere.example@smart.example"):
            assert (await client.say(f"RCPT TO:<{recipient}>")).startswith("550 5.7.1 Relay access denied")
        await client.say("RSET")
        assert (await client.message("eve@example.net", "Bob@Customer.Example")).startswith("250")
        assert [row[:2] for row in await h.queue()] == [("eve@example.net", "Bob@customer.example")]
        assert await h.rows("SELECT name FROM destinations") == [("route 1 customer.example",)]
        await h.write(routes.remove_rule, "recipient", "customer.example")
        await client.say("MAIL FROM:<eve@example.net>")
        assert (await client.say("RCPT TO:<Bob@Customer.Example>")).startswith("550 5.7.1")


async def test_what_a_rule_discards_is_accepted_and_leaves_nothing(house):
    async with house() as h:
        await h.write(routes.create_route, "nowhere", "discard")
        await h.write(routes.add_rule, "recipient", "trap.example", "nowhere", accept=True)
        client = await h.greeted()
        assert (await client.message("eve@example.net", "bob@trap.example")).startswith("250")
        large = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n"
        assert (await client.message("eve@example.net", "bob@trap.example", large * 6000)).startswith("250")
        assert await h.rows("SELECT count(*) FROM message_queue") == [(0,)]
        assert await h.rows("SELECT count(*) FROM blobs WHERE complete = 1") == [(0,)]
        assert h.node.slot.get(Field.MESSAGES_REJECTED) == 0


async def test_lmtp_answers_for_each_recipient(house):
    async with house() as h:
        await h.write(directory.add_alias, "away@example.com", "carl@elsewhere.example")
        client = await h.greeted(Role.LMTP)
        await client.transaction("eve@example.org", "ada@example.com", "away@example.com")
        await client.send(b"Delivered-To: away@example.com\r\n\r\nx\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        assert (await client.reply()).startswith("554 5.4.6")
        assert await h.queue() == []
