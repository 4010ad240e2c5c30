"""Submission: who may send as whom, what is mended, what is asked of delivery, how much an account may send."""

import asyncio
import re
import smtplib
from base64 import b64decode, b64encode

import pytest

from pillarbox.access import passwords
from pillarbox.access.channel_binding import server_end_point
from pillarbox.access.limits import Role
from pillarbox.access.passwords import scram_keys
from pillarbox.config import Settings
from pillarbox.flow.allowance import Limit, OverLimit
from pillarbox.server import certificates
from pillarbox.session import smtp_submission
from pillarbox.store import blobs, directory, senders, usage
from pillarbox.store.errors import Busy
from scram_client import ScramClient

ADA = "ada@example.com"
MESSAGE = b"From: Ada <ada@example.com>\r\nTo: x@elsewhere.example\r\nSubject: x\r\n\r\nhello\r\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(passwords, "needs_rehash", lambda hashed: False)


def plain(username=ADA, password="secret"):
    return "AUTH PLAIN " + b64encode(f"\0{username}\0{password}".encode()).decode()


@pytest.fixture
def submitting(house, server_tls, client_tls):
    """`async with submitting() as (h, client):` somebody who has logged in over TLS."""

    def build(user=ADA, **options):
        return Submitting(house(tls=server_tls, **options), client_tls, user)

    return build


class Submitting:
    def __init__(self, house, tls, user):
        self.house, self.tls, self.user = house, tls, user

    async def __aenter__(self):
        h = await self.house.__aenter__()
        client = await h.greeted(Role.SUBMISSION)
        await client.starttls(self.tls)
        await client.say("EHLO client.example.org")
        if self.user:
            assert (await client.say(plain(self.user))).startswith("235")
        return h, client

    async def __aexit__(self, *error):
        return await self.house.__aexit__(*error)


async def test_nothing_is_taken_before_tls_and_a_login(house, server_tls, client_tls):
    async with house(tls=server_tls) as h:
        client = await h.greeted(Role.SUBMISSION)
        assert "AUTH" not in await client.say("EHLO x")
        assert await client.say("MAIL FROM:<ada@example.com>") == "530 5.7.0 Must issue STARTTLS first"
        assert (await client.say(plain())).startswith("538 5.7.11")
        await client.starttls(client_tls)
        lines = (await client.say("EHLO x")).split("\n")
        assert "250-AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2" in lines
        assert {"250-DSN", "250-DELIVERBY", "250-MT-PRIORITY"} <= set(lines)
        assert any(re.match(r"250-FUTURERELEASE 2592000 20\d\d-", line) for line in lines)
        assert not any("REQUIRETLS" in line or "BURL" in line for line in lines)
        assert await client.say("MAIL FROM:<ada@example.com>") == "530 5.7.0 Authentication required"
        assert (await client.say(plain())).startswith("235")
        assert (await client.say("MAIL FROM:<ada@example.com>")).startswith("250")


async def test_without_tls_a_program_of_this_machine_may_log_in_when_the_operator_said_so(house):
    async with house(require_tls=False) as h:
        client = await h.greeted(Role.SUBMISSION)
        assert "AUTH SCRAM-SHA-256" in await client.say("EHLO x")
        assert (await client.say(plain())).startswith("235")
    assert not Settings.of("development").cleartext_loopback


async def test_the_port_25_role_is_as_it_was(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await h.greeted()
        await client.starttls(client_tls)
        reply = await client.say("EHLO x")
        assert "250-AUTH PLAIN LOGIN\n" in reply
        assert not any(word in reply for word in ("FUTURERELEASE", "DELIVERBY", "MT-PRIORITY"))


async def test_a_message_is_mended_and_queued(submitting):
    async with submitting() as (h, client):
        body = b"To: x@elsewhere.example\r\nBcc: y@elsewhere.example\r\n\r\n..dot\r\n"
        reply = await client.message(ADA, "x@elsewhere.example", body)
        name = re.fullmatch(r"250 2\.0\.0 OK: Message accepted for delivery, id (\w+)", reply)[1]
        ((row,), (blob,)) = await queued(h)
        assert row["message_key"] == name
        assert row["user_id"] == 1
        assert (row["from_address"], row["to_address"]) == (ADA, "x@elsewhere.example")
        prefix = row["prefix"].decode()
        assert re.match(r"Received: by mx\.example\.com with ESMTPSA \(TLSv1\.3 ", prefix)
        assert "127.0.0.1" not in prefix and "client.example.org" not in prefix
        header, _, text = blob.partition(b"\r\n\r\n")
        assert text == b".dot\r\n"
        assert header.startswith(b"To: x@elsewhere.example\r\nFrom: ada@example.com\r\nDate: ")
        assert header.endswith(f"\r\nMessage-ID: <{name}@mx.example.com>".encode())
        assert b"Bcc" not in header


async def test_what_goes_into_no_mailbox_is_not_looked_into(submitting):
    async with submitting() as (h, client):
        for recipients in (["x@elsewhere.example"], ["x@elsewhere.example", "bob@example.com"]):
            await client.say(f"MAIL FROM:<{ADA}>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA")
            await client.send(MESSAGE + b".\r\n")
            assert (await client.reply()).startswith("250")
        (through, known), (_, whole) = await h.rows("SELECT message_id, envelope FROM blobs ORDER BY id")
        assert known is None and b"elsewhere" in whole and re.fullmatch(r"<\w+@mx\.example\.com>", through)
        assert len(await h.mail("bob@example.com")) == 1
        await h.node.story.flush()
        ids = await h.rows("SELECT detail FROM message_events WHERE kind = 'queued'")
        assert all("header_id" in detail for (detail,) in ids) and through in ids[0][0]


async def queued(h):
    """Rows of the queue by column, and their contents."""
    names = (
        "from_address", "to_address", "prefix", "message_key", "user_id", "notify", "orcpt", "ret", "envid", "body",
        "smtputf8", "deliver_by", "deliver_mode", "priority", "next_retry_at", "created_at", "status", "blob_id",
    )  # fmt: skip
    rows = await h.rows(f"SELECT {', '.join(names)} FROM message_queue ORDER BY id")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    size = "SELECT size FROM blobs WHERE id = ?"
    ids = [(row["blob_id"], (await h.rows(size, row["blob_id"]))[0][0]) for row in found]
    return found, [await h.node.store.read(blobs.read_slice, blob_id, 0, size) for blob_id, size in ids]


async def test_the_client_is_shown_when_asked(submitting):
    async with submitting(submission_show_client=True) as (h, client):
        await client.message(ADA, "x@elsewhere.example", MESSAGE)
        ((row,), _) = await queued(h)
        assert row["prefix"].startswith(b"Received: from client.example.org ([127.0.0.1])")


@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize("cut", [1, 7, 90, 10_000])
async def test_chunks_are_mended_too(submitting, cut, size):
    async with submitting() as (h, client):
        content = b"Subject: x\r\nBcc: a@b.example\r\n\r\nbody" + b"\0bin\n" * (size // 5)
        await client.say("MAIL FROM:<ada@example.com> BODY=BINARYMIME", "RCPT TO:<bob@example.com>")
        for at in range(0, min(len(content), 100), cut):
            piece = content[at : min(at + cut, 100)]
            await client.send(b"BDAT %d\r\n%b" % (len(piece), piece))
            assert (await client.reply()).startswith("250")
        rest = content[100:]
        await client.send(b"BDAT %d LAST\r\n%b" % (len(rest), rest))
        assert (await client.reply()).startswith("250")
        (message,) = await h.mail("bob@example.com")
        header, _, body = message.partition(b"\r\n\r\n")
        if size:  # with its NULs it is encoded
            assert header.endswith(b"\r\nContent-Transfer-Encoding: base64")
            body = b64decode(body)
        assert body == content.partition(b"\r\n\r\n")[2]
        assert b"\r\nSubject: x\r\nFrom: ada@example.com\r\nDate: " in header and b"Bcc" not in header
        assert h.node.memory.used == 0


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (b"From: eve@evil.example\r\n\r\n", "550 5.7.1 From or Sender: <eve@evil.example> is not an address of ada"),
        (b"From: ada@example.com, bob@example.com\r\n\r\n", "550 5.7.1 From or Sender: <bob@example.com> is not"),
        (b"From: ada@example.com\r\nSender: bob@example.com\r\n\r\n", "550 5.7.1 From or Sender: <bob@example.com>"),
        (b"From: ada\r\n\r\n", "554 5.6.0 From must be"),
        (b"From: ada@example.com\r\nFrom: ada@example.com\r\n\r\n", "554 5.6.0 The header has more than one From"),
        (b"X: " + b"y" * 300 + b"\r\n\r\n", "250"),
        (b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 9000 + b"\r\n", "552 5.3.4 The header of the message is larger"),
    ],
)  # fmt: skip
async def test_who_a_message_says_it_is_from(submitting, content, reply):
    async with submitting(max_message_size=1 << 20) as (h, client):
        assert (await client.message(ADA, "x@elsewhere.example", content)).startswith(reply)
        assert (await client.message(ADA, "x@elsewhere.example", MESSAGE)).startswith("250")
        assert len(await h.queue()) == (2 if reply == "250" else 1)


async def allowed(client, *addresses):
    """Those of the addresses that MAIL takes."""
    taken = []
    for address in addresses:
        if (await client.say(f"MAIL FROM:<{address}>")).startswith("250"):
            taken.append(address)
        await client.say("RSET")
    return taken


async def test_addresses_of_an_account(submitting):
    async with submitting() as (h, client):
        await h.write(directory.add_alias, "sales@example.com", ADA)
        await h.write(directory.add_alias, "sales@example.com", "bob@example.com")
        await h.write(directory.add_alias, "deep@example.com", "sales@example.com")
        await h.write(directory.add_alias, "tagged@example.com", "ada+x@example.com")
        await h.write(directory.add_alias, "ada@foreign.example", ADA)
        await h.write(directory.create_domain, "other.example", catch_all=ADA)
        good = [
            ADA, "ADA@EXAMPLE.COM", "ada+tag@example.com", "sales@example.com", "sales+1@example.com",
            "tagged@example.com",
        ]  # fmt: skip
        bad = [
            "bob@example.com", "ada@other.example", "deep@example.com", "nobody@example.com", "ada@elsewhere.example",
            "ada@foreign.example", '"ada @x"@example.com', "ada@[127.0.0.1]",
        ]  # fmt: skip
        assert await allowed(client, *good, *bad, "") == [*good, ""]
        await h.write(senders.grant, 1, "boss@elsewhere.example")
        await h.write(senders.grant, 1, "@news.example")
        granted = ["boss@elsewhere.example", "boss+x@elsewhere.example", "any.body@News.Example"]
        assert await allowed(client, *granted, "clerk@elsewhere.example", "a@sub.news.example") == granted


async def test_a_refused_sender_is_told_what_to_do(submitting):
    async with submitting() as (_, client):
        reply = await client.say("MAIL FROM:<bob@example.com>")
        assert reply == (
            "553 5.7.1 <bob@example.com> is not an address of ada@example.com: send as <ada@example.com>, "
            "or ask the postmaster to grant you that address"
        )


async def test_what_is_asked_of_delivery_goes_into_the_queue(submitting):
    async with submitting() as (h, client):
        h.node.clock = lambda: 1_000_000.7
        wishes = "RET=HDRS ENVID=q1 BODY=8BITMIME BY=7200;NT HOLDFOR=3600 MT-PRIORITY=3"
        await client.say(f"MAIL FROM:<ada@example.com> {wishes}")
        await client.say("RCPT TO:<x@elsewhere.example> NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;y@z.example")
        await client.say("DATA")
        await client.send(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("250")
        ((row,), _) = await queued(h)
        assert row["next_retry_at"] == 1_003_600
        assert row["deliver_by"] == 1_007_200
        wanted = {
            "notify": "SUCCESS,FAILURE", "orcpt": "rfc822;y@z.example", "ret": "HDRS", "envid": "q1",
            "body": "8BITMIME", "deliver_mode": "NT", "priority": 3, "status": "pending",
        }  # fmt: skip
        assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize("size", [0, 400_000])
@pytest.mark.parametrize(("letter", "kind"), [("ü", "8BITMIME"), ("u", "7BIT")])
async def test_what_is_8_bit_is_so_in_the_queue_though_the_client_did_not_say_it(submitting, size, letter, kind):
    """Else a server without 8BITMIME would get it raw, and one with it a wrong BODY."""
    async with submitting() as (h, client):
        text = b"a line of the text\r\n" * (size // 20) + letter.encode() + b"\r\n"
        await client.message(ADA, "x@elsewhere.example", MESSAGE + text)
        ((row,), _) = await queued(h)
        assert row["body"] == kind


async def test_what_holds_a_nul_is_binary_in_the_queue_whatever_the_client_called_it(submitting):
    """DATA cannot carry it: the next server gets it by BDAT, or encoded."""
    async with submitting() as (h, client):
        text = MESSAGE + b"a\0b\r\n"
        await client.say(f"MAIL FROM:<{ADA}> BODY=8BITMIME", "RCPT TO:<x@elsewhere.example>")
        await client.send(b"BDAT %d LAST\r\n%b" % (len(text), text))
        assert (await client.reply()).startswith("250")
        ((row,), (blob,)) = await queued(h)
        assert row["body"] == "BINARYMIME" and blob.endswith(b"a\0b\r\n")


async def test_mail_for_here_waits_too_when_it_is_to_be_held(submitting):
    async with submitting() as (h, client):
        await client.say("MAIL FROM:<ada@example.com> HOLDFOR=3600", "RCPT TO:<bob@example.com>", "DATA")
        await client.send(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("250")
        assert await h.mail("bob@example.com") == []
        ((row,), _) = await queued(h)
        assert row["next_retry_at"] - row["created_at"] in (3600, 3601)


async def test_wishes_that_cannot_be(submitting):
    async with submitting() as (_, client):
        assert await client.say("MAIL FROM:<ada@example.com> MT-PRIORITY=9") == "250 2.3.6 4 is the new priority"
        await client.say("RSET")
        assert (await client.say("MAIL FROM:<ada@example.com> HOLDUNTIL=2001-01-01T00:00:00Z")).startswith("501 5.5.4")
        assert (await client.say("MAIL FROM:<ada@example.com> HOLDFOR=100 BY=90;R")).startswith("501 5.5.4")
        assert (await client.say("MAIL FROM:<ada@example.com> HOLDFOR=99999999")).startswith("501 5.5.4")


async def test_messages_an_hour(submitting):
    async with submitting(messages_per_hour=2) as (h, client):
        for _ in range(2):
            assert (await client.message(ADA, "x@elsewhere.example", MESSAGE)).startswith("250")
        reply = await client.message(ADA, "x@elsewhere.example", MESSAGE)
        assert re.fullmatch(r"450 4\.7\.1 You may send at most 2 messages in an hour: try again in \d+ minutes", reply)
        assert len(await h.queue()) == 2
        assert (await h.node.store.read(usage.totals, 1)).day_messages == 2


async def test_recipients_a_day(submitting):
    async with submitting(recipients_per_day=3) as (h, client):
        await client.transaction(ADA, *(f"{name}@elsewhere.example" for name in "abcd"))
        await client.send(MESSAGE + b".\r\n")
        assert await client.reply() == "550 5.7.1 You may send to at most 3 recipients in a day: this is more at once"
        assert (await client.message(ADA, "a@elsewhere.example", MESSAGE)).startswith("250")
        await client.transaction(ADA, *(f"{name}@elsewhere.example" for name in "abc"))
        await client.send(MESSAGE + b".\r\n")
        assert re.match(r"450 4\.7\.1 .*: try again in \d+ (minutes|hours)", await client.reply())
        assert len(await h.queue()) == 1


async def test_a_burst_to_strangers_holds_the_account(submitting):
    async with submitting(new_recipients_per_hour=3, users=(ADA, "root@example.com")) as (h, client):
        for name in "abc":
            assert (await client.message(ADA, f"{name}@elsewhere.example", MESSAGE)).startswith("250")
        assert (await client.message(ADA, "a@elsewhere.example", MESSAGE)).startswith("250")
        assert {row["status"] for row in (await queued(h))[0]} == {"pending"}
        assert (await client.message(ADA, "d@elsewhere.example", MESSAGE)).startswith("250"), "it is kept"
        rows, _ = await queued(h)
        assert len(rows) == 5
        assert {(row["status"], row["next_retry_at"]) for row in rows} == {("held", None)}
        reply = await client.say("MAIL FROM:<ada@example.com>")
        assert reply.startswith("450 4.7.1 Your account cannot send mail for now (4 recipients in an hour")
        notices = await h.mail(ADA)
        subjects = [re.search(rb"Subject: (.*)\r", notice)[1] for notice in notices]
        # The postmaster of this house is its oldest account.
        assert subjects == [b"Your account cannot send mail for now", b"The account ada@example.com was held"]
        assert b"pillarbox user release ada@example.com" in notices[1]
        await h.write(senders.release, 1)
        await h.write(usage.forget, 1)
        assert (await client.message(ADA, "e@elsewhere.example", MESSAGE)).startswith("250")


async def test_an_account_that_is_held_within_a_message_does_not_send_it(submitting):
    async with submitting() as (h, client):
        assert (await client.transaction(ADA, "x@elsewhere.example")).startswith("354")
        await h.write(senders.hold, 1, "by hand")
        await client.send(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("450 4.7.1 Your account cannot send mail for now (by hand)")
        assert await h.queue() == []


async def test_who_logs_in_on_port_25_submits_too(house, server_tls, client_tls):
    """The same senders, the same limits, the same mending; before the login anybody sends to us as whoever."""
    async with house(tls=server_tls, enable_auth=True, messages_per_hour=1) as h:
        client = await h.greeted()
        assert (await client.message("eve@else.example", "bob@example.com")).startswith("250")
        await client.starttls(client_tls)
        await client.say("EHLO x")
        await client.say(plain())
        assert (await client.say("MAIL FROM:<eve@else.example>")).startswith("553 5.7.1")
        forged = b"From: boss@example.com\r\n\r\n"
        assert (await client.message(ADA, "bob@example.com", forged)).startswith("550 5.7.1")
        assert (await client.message(ADA, "x@elsewhere.example")).startswith("250")
        assert (await client.message(ADA, "x@elsewhere.example")).startswith("450 4.7.1")
        await h.write(senders.hold, 1, "by hand")
        assert (await client.say(f"MAIL FROM:<{ADA}>")).startswith("450 4.7.1 Your account")


async def test_a_store_that_is_busy_is_asked_in_a_thread(submitting, monkeypatch):
    async with submitting() as (h, client):

        def busy(*args):
            raise Busy("lock")

        monkeypatch.setattr(h.node.store, "peek", busy)
        assert (await client.message(ADA, "x@elsewhere.example", MESSAGE)).startswith("250")
        assert (await client.say("MAIL FROM:<bob@example.com>")).startswith("553")
        bad = b"From: bob@example.com\r\n\r\n"
        assert (await client.message(ADA, "x@elsewhere.example", bad)).startswith("550")
        big = MESSAGE + b"x" * 70 + b"\r\n"
        assert (await client.message(ADA, "x@elsewhere.example", big * 5000)).startswith("250")


async def test_headers_that_wait_are_within_the_budget(submitting):
    async with submitting(memory_budget=1 << 20) as (h, client):
        assert (await client.transaction(ADA, "x@elsewhere.example")).startswith("354")
        await client.send(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 1000)
        while h.node.memory.used < 30_000:
            await asyncio.sleep(0.001)
        await client.send(b"\r\nbody\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        assert h.node.memory.used == 0
        h.node.memory.used = h.node.memory.limit
        assert (await client.transaction(ADA, "x@elsewhere.example")).startswith("354")
        await client.send(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 1000)
        (session,) = h.node.sessions
        while session._spool is not None:
            await asyncio.sleep(0.001)
        await client.send(b"\r\nbody\r\n.\r\n")
        assert (await client.reply()).startswith("452 4.3.1")
        h.node.memory.used = 0


async def test_smtplib_submits_with_implicit_tls(house, server_tls, client_tls):
    async with house(tls=server_tls) as h:
        port = await h.listen(Role.SUBMISSION, implicit_tls=True)

        def talk():
            with smtplib.SMTP_SSL("127.0.0.1", port, timeout=10, context=client_tls) as smtp:
                smtp.login(ADA, "secret")
                smtp.sendmail(ADA, ["bob@example.com"], MESSAGE)

        await asyncio.to_thread(talk)
        (message,) = await h.mail("bob@example.com")
        assert b"with ESMTPSA" in message


async def test_scram_over_the_wire(house, certificate, client_tls, monkeypatch):
    """SCRAM-SHA-256-PLUS against the certificate that the server really has."""
    context = certificates.context(certificates.read(*certificate))
    async with house(tls=context) as h:
        await h.write(directory.set_password, ADA, "!", scram_keys("secret"))
        client = await h.greeted(Role.SUBMISSION)
        await client.starttls(client_tls)
        assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN" in await client.say("EHLO x")
        seen = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        for binding, code in ((b"another certificate", "535"), (server_end_point(seen), "235")):
            scram = ScramClient("secret", ADA, header="p=tls-server-end-point,,", binding=binding)
            challenge = await client.say("AUTH SCRAM-SHA-256-PLUS " + b64encode(scram.first()).decode())
            reply = await client.say(b64encode(scram.final(b64decode(challenge[4:]))).decode())
            if reply.startswith("334 "):
                reply = await client.say("")
            assert reply.startswith(code)


def test_replies_of_limits_say_when():
    reply = smtp_submission.refused_by_limit(OverLimit(Limit.MESSAGES_PER_DAY, 5, 1000), 400)
    assert reply.text.endswith("try again in 10 minutes")
    far = smtp_submission.refused_by_limit(OverLimit(Limit.MESSAGES_PER_DAY, 5, 87_000), 1000)
    assert far.text.endswith("in a day: try again in 24 hours")


async def test_nothing_is_said_of_addresses_before_the_login(house, server_tls, client_tls):
    async with house(tls=server_tls) as h:
        client = await h.greeted(Role.SUBMISSION)
        assert (await client.say("VRFY ada")).startswith("530 5.7.0 Must issue STARTTLS")
        assert (await client.say("HELP")).startswith("214")
        await client.starttls(client_tls)
        await client.say("EHLO x")
        assert (await client.say("EXPN staff")).startswith("530 5.7.0 Authentication")
        assert (await client.say(plain())).startswith("235")
        assert (await client.say("VRFY ada")).startswith("252")
        assert (await (await h.greeted()).say("VRFY ada")).startswith("252")
        h.node.settings = h.node.settings.replace(require_auth=True)
        assert (await (await h.greeted()).say("VRFY ada")).startswith("530 5.7.0")
