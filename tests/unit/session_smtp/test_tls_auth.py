"""STARTTLS, AUTH, and what only who has logged in may do."""

import asyncio
import smtplib
from base64 import b64encode

import pytest

from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.flow.route import Route
from pillarbox.session import entrance
from pillarbox.store import directory
from pillarbox.store.errors import Busy


def plain(username, password):
    return "AUTH PLAIN " + b64encode(f"\0{username}\0{password}".encode()).decode()


def _busy(*args):
    raise Busy("lock")


async def test_starttls_upgrades_and_the_client_greets_again(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await h.greeted()
        lines = (await client.say("EHLO x")).split("\n")
        assert "250-STARTTLS" in lines
        assert not any("AUTH" in line for line in lines)
        await client.starttls(client_tls)
        assert (await client.say("MAIL FROM:<>")).startswith("503")
        lines = (await client.say("EHLO x")).split("\n")
        assert "250-AUTH PLAIN LOGIN" in lines
        assert not any("STARTTLS" in line for line in lines)
        assert (await client.message("", "ada@example.com")).startswith("250")
        (message,) = await h.mail("ada@example.com")
        assert b"with ESMTPS" in message
        assert b"TLSv1.3" in message
        assert h.node.slot.get(Field.TLS_HANDSHAKES) == 1


async def test_what_was_said_before_tls_is_forgotten(house, server_tls, client_tls):
    async with house(tls=server_tls) as h:
        client = await h.greeted()
        await client.send(b"STARTTLS\r\nRSET\r\nMAIL FROM:<eve@example.org>\r\n")
        assert (await client.reply()).startswith("220")
        await client.writer.start_tls(client_tls)
        assert (await client.say("NOOP")).startswith("250 2.0.0")
        assert (await client.say("RCPT TO:<ada@example.com>")).startswith("503")


async def test_a_handshake_that_fails_ends_the_connection_and_is_counted(house, server_tls):
    async with house(tls=server_tls) as h:
        client = await h.greeted()
        assert (await client.say("STARTTLS")).startswith("220")
        await client.send(b"this is no ClientHello, not by any means\r\n")
        await asyncio.wait_for(client.reader.read(), 10)
        while h.node.sessions:
            await asyncio.sleep(0.001)
        assert h.node.slot.get(Field.TLS_FAILURES) == 1


async def test_smtplib_speaks_to_us_over_tls(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        port = await h.listen()

        def talk():
            with smtplib.SMTP("127.0.0.1", port, timeout=10) as smtp:
                smtp.starttls(context=client_tls)
                smtp.login("ada@example.com", "secret")
                smtp.sendmail("ada@example.com", ["bob@example.com"], b"Subject: one\r\n\r\n1\r\n")
                smtp.sendmail("ada@example.com", ["bob@example.com"], b"Subject: two\r\n\r\n.2\r\n")

        await asyncio.to_thread(talk)
        messages = await h.mail("bob@example.com")
        assert [message.partition(b"Subject: ")[2][:5] for message in messages] == [b"one\r\n", b"two\r\n"]
        assert [message.partition(b"\r\n\r\n")[2] for message in messages] == [b"1\r\n", b".2\r\n"]
        assert b"with ESMTPSA" in messages[0]


async def test_auth_in_clear_is_refused(house, server_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await h.greeted()
        assert (await client.say(plain("ada@example.com", "secret"))).startswith("538 5.7.11")


async def test_auth_that_is_off_is_not_there(house, server_tls, client_tls):
    async with house(tls=server_tls) as h:
        client = await h.greeted()
        await client.starttls(client_tls)
        assert "AUTH" not in await client.say("EHLO x")
        assert (await client.say(plain("ada@example.com", "secret"))).startswith("502")


async def secured(h, client_tls, role=Role.SMTP):
    client = await h.greeted(role)
    await client.starttls(client_tls)
    await client.say("EHLO x")
    return client


async def test_login_asks_for_name_and_password(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await secured(h, client_tls)
        assert await client.say("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert await client.say(b64encode(b"ada@example.com").decode()) == "334 UGFzc3dvcmQ6"
        assert await client.say(b64encode(b"secret").decode()) == "235 2.7.0 Authentication successful"
        assert (await client.say("AUTH LOGIN")).startswith("503")
        assert h.node.slot.get(Field.AUTH_SUCCESSES) == 1


async def test_wrong_passwords_unknown_names_and_disabled_accounts_are_all_the_same_and_end_the_connection(
    house, server_tls, client_tls
):
    async with house(tls=server_tls, enable_auth=True) as h:
        await h.write(directory.set_enabled, "bob@example.com", False)
        client = await secured(h, client_tls)
        assert await client.say(plain("ada@example.com", "wrong")) == "535 5.7.8 Authentication failed"
        assert await client.say(plain("nobody@example.com", "secret")) == "535 5.7.8 Authentication failed"
        assert (await client.say(plain("bob@example.com", "secret"))).startswith("421 4.7.0")
        assert await client.ended()
        assert h.node.slot.get(Field.AUTH_FAILURES) == 3


@pytest.mark.parametrize(
    ("line", "reply"), [("AUTH PLAIN ****", "501"), ("AUTH PLAIN YWJj", "501"), ("AUTH X Y", "504")]
)
async def test_malformed_auth(house, server_tls, client_tls, line, reply):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await secured(h, client_tls)
        assert (await client.say(line)).startswith(reply)


@pytest.mark.parametrize("response", [b"\0\0", b"bob@example.com\0ada@example.com\0secret"])
async def test_who_gives_no_password_or_acts_for_another_has_failed_like_everybody(
    house, server_tls, client_tls, response
):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await secured(h, client_tls)
        assert (await client.say("AUTH PLAIN " + b64encode(response).decode())).startswith("535 5.7.8")
        assert h.node.slot.get(Field.AUTH_FAILURES) == 1


async def test_who_has_logged_in_may_send_elsewhere(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await secured(h, client_tls)
        await client.say("MAIL FROM:<ada@example.com>")
        assert (await client.say("RCPT TO:<eve@elsewhere.example>")).startswith("550 5.7.1")
        await client.say("RSET")
        await client.say(plain("ada@example.com", "secret"))
        assert (await client.message("ada@example.com", "eve@elsewhere.example")).startswith("250")
        assert [(row[0], row[1]) for row in await h.queue()] == [("ada@example.com", "eve@elsewhere.example")]


async def test_a_session_ends_when_its_password_changes(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await secured(h, client_tls)
        await client.say(plain("ada@example.com", "secret"))
        await h.node.logins.check()
        assert (await client.say("NOOP")).startswith("250")
        await h.write(directory.set_password, "ada@example.com", "!", "")
        await h.node.logins.check()
        assert (await client.reply()).startswith("421 4.7.0")
        assert await client.ended()


async def test_a_session_within_a_transaction_ends_too_after_the_command_it_is_at(house, server_tls, client_tls):
    async with house(tls=server_tls, enable_auth=True) as h:
        client = await secured(h, client_tls)
        await client.say(plain("ada@example.com", "secret"))
        await client.say("MAIL FROM:<ada@example.com>")
        looking, go = asyncio.Event(), asyncio.Event()

        async def slowly(*args):
            looking.set()
            await go.wait()
            return Route(users=((1, "ada@example.com"),))

        h.node.routes.now, h.node.routes.later = _busy, slowly
        await client.send(b"RCPT TO:<ada@example.com>\r\n")
        await looking.wait()
        await h.write(directory.set_password, "ada@example.com", "!", "")
        await h.node.logins.check()
        go.set()
        assert (await client.reply()).startswith("250 2.1.5")
        assert (await client.reply()).startswith("421 4.7.0")
        assert await client.ended()


async def test_a_profile_that_requires_tls_still_takes_mail_of_strangers(house):
    async with house(enable_auth=True) as h:
        h.node.settings = type(h.node.settings).of("production", db_path=str(h.path), hostname="mx.example.com")
        client = await h.greeted()
        assert (await client.message("", "ada@example.com")).startswith("250")


async def test_an_explicit_setting_refuses_strangers(house, server_tls, client_tls):
    async with house(tls=server_tls, require_tls=True, require_auth=True, enable_auth=True) as h:
        client = await h.greeted()
        assert (await client.say("MAIL FROM:<>")).startswith("530 5.7.0")
        await client.starttls(client_tls)
        await client.say("EHLO x")
        assert (await client.say("MAIL FROM:<>")) == "530 5.7.0 Authentication required"
        await client.say(plain("ada@example.com", "secret"))
        assert (await client.say("MAIL FROM:<>")).startswith("250")
        lmtp = await h.greeted(Role.LMTP)
        assert (await lmtp.say("MAIL FROM:<>")).startswith("250")


async def test_implicit_tls(house, server_tls, client_tls):
    async with house(tls=server_tls) as h:
        port = await h.listen(implicit_tls=True)
        client = await h.connect(port=port, ssl=client_tls, server_hostname="localhost")
        assert (await client.reply()).startswith("220")
        lines = (await client.say("EHLO x")).split("\n")
        assert not any("STARTTLS" in line for line in lines)
        assert (await client.message("", "ada@example.com")).startswith("250")
        assert b"with ESMTPS" in (await h.mail("ada@example.com"))[0]


async def test_who_never_finishes_the_handshake_of_implicit_tls_is_a_connection_too(
    house, server_tls, client_tls, monkeypatch
):
    monkeypatch.setattr(entrance, "STANDING", 2)
    async with house(tls=server_tls, max_connections=2) as h:
        port = await h.listen(implicit_tls=True)
        silent = [await h.connect(port=port) for _ in range(2)]
        while h.node.slot.get(Field.CONNECTIONS_ACTIVE) < 2:
            await asyncio.sleep(0)
        third = await h.connect(port=port)
        assert await third.ended()
        assert h.node.slot.get(Field.CONNECTIONS_REFUSED) == 1
        silent[0].close()
        while h.node.slot.get(Field.CONNECTIONS_ACTIVE) == 2:
            await asyncio.sleep(0.001)
        client = await h.connect(port=port, ssl=client_tls, server_hostname="localhost")
        assert (await client.reply()).startswith("220")
        assert h.node.slot.get(Field.CONNECTIONS_ACTIVE) == 2
        silent[1].close()
        await client.say("QUIT")
        assert await client.ended()
        while h.node.slot.get(Field.CONNECTIONS_ACTIVE):
            await asyncio.sleep(0.001)
