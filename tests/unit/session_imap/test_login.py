"""Before and during the login: greeting, STARTTLS, mechanisms, failures, ENABLE and ID."""

import asyncio
import base64

import pytest

from pillarbox.access.limits import Caps
from pillarbox.store import directory

PLAIN = base64.b64encode(b"\0ada@example.com\0secret").decode()
WRONG = base64.b64encode(b"\0ada@example.com\0wrong").decode()


async def test_the_greeting_in_the_clear_offers_starttls_and_no_login(house):
    async with house() as h:
        c = await h.connect(implicit_tls=False)
        greeting = await c.response()
        assert greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ")
        assert b" STARTTLS" in greeting
        assert b" LOGINDISABLED" in greeting
        assert b"AUTH=" not in greeting


async def test_passwords_in_the_clear_are_refused(house):
    async with house() as h:
        c = await h.connect(implicit_tls=False)
        await c.response()
        assert b"NO [PRIVACYREQUIRED]" in await c.refused("LOGIN ada@example.com secret")
        assert b"NO [PRIVACYREQUIRED]" in await c.refused(f"AUTHENTICATE PLAIN {PLAIN}")


async def test_without_a_certificate_starttls_is_not_offered(house):
    async with house(tls=False) as h:
        c = await h.connect(implicit_tls=False)
        assert b"STARTTLS" not in await c.response()
        assert (await c.refused("STARTTLS")).startswith(b"BAD")


async def test_login_after_starttls(house):
    async with house() as h:
        c = await h.connect(implicit_tls=False)
        await c.response()
        await c.ok("STARTTLS")
        await c.writer.start_tls(h.client_tls, server_hostname="localhost")
        (capability,) = await c.ok("CAPABILITY")
        assert b"AUTH=PLAIN" in capability
        assert b"STARTTLS" not in capability
        assert b"LOGINDISABLED" not in capability
        assert b"[CAPABILITY IMAP4rev1 IMAP4rev2" in await c.done("LOGIN ada@example.com secret")


async def test_what_was_said_before_starttls_is_forgotten(house):
    async with house() as h:
        c = await h.connect(implicit_tls=False)
        await c.response()
        await c.send(b"a STARTTLS\r\nb LOGOUT\r\n")
        assert (await c.until(b"a"))[-1].startswith(b"a OK")
        await c.writer.start_tls(h.client_tls, server_hostname="localhost")
        assert await c.ok("NOOP") == []


async def test_a_failed_handshake_ends_the_connection(house):
    async with house() as h:
        c = await h.connect(implicit_tls=False)
        await c.response()
        await c.ok("STARTTLS")
        await c.send(b"this is no handshake at all\r\n" * 20)
        assert await c.reader.read() is not None
        await h.closed()


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        ("AUTHENTICATE PLAIN", [PLAIN]),
        (f"AUTHENTICATE PLAIN {PLAIN}", []),
        ("AUTHENTICATE LOGIN", ["YWRhQGV4YW1wbGUuY29t", "c2VjcmV0"]),
        ("AUTHENTICATE LOGIN YWRhQGV4YW1wbGUuY29t", ["c2VjcmV0"]),
        ('LOGIN "ada@example.com" "secret"', []),
    ],
)
async def test_every_way_to_log_in(house, command, answers):
    async with house() as h:
        c = await h.connect()
        await c.response()
        await c.send(f"a {command}\r\n".encode())
        for answer in answers:
            assert (await c.response()).startswith(b"+ ")
            await c.send(answer.encode() + b"\r\n")
        assert (await c.response()).startswith(b"a OK [CAPABILITY ")
        assert b"6 messages" not in await c.ok('LIST "" *')


async def test_login_with_literals(house):
    async with house() as h:
        c = await h.connect()
        await c.response()
        await c.ok("LOGIN {} {}", b"ada@example.com", b"secret")
        assert await c.ok('LIST "" INBOX') == [b'LIST (\\HasNoChildren) "/" INBOX']


async def test_cancelling_authenticate(house):
    async with house() as h:
        c = await h.connect()
        await c.response()
        await c.send(b"a AUTHENTICATE PLAIN\r\n")
        assert await c.response() == b"+ "
        await c.send(b"*\r\n")
        assert (await c.response()).startswith(b"a BAD")
        await c.ok("LOGIN ada@example.com secret")


async def test_wrong_passwords_are_refused_slowly_and_end_the_connection(house):
    async with house() as h:
        slept = []

        async def sleep(seconds):
            slept.append(seconds)

        h.node.authenticator._sleep = sleep
        c = await h.connect()
        await c.response()
        for _ in range(4):
            assert (await c.refused(f"AUTHENTICATE PLAIN {WRONG}")).startswith(b"NO [AUTHENTICATIONFAILED]")
        await c.send(b"x LOGIN nobody@example.com secret\r\n")
        assert (await c.response()).startswith(b"x NO [AUTHENTICATIONFAILED]")
        assert (await c.response()).startswith(b"* BYE")
        assert await c.ended()
        assert len(slept) == 5


async def test_a_store_that_cannot_answer_is_unavailable(house, monkeypatch):
    async with house() as h:
        from pillarbox.access.authenticate import TemporaryFailure

        async def check(*_):
            raise TemporaryFailure("busy")

        monkeypatch.setattr(h.node.authenticator, "check", check)
        c = await h.connect()
        await c.response()
        assert (await c.refused("LOGIN ada@example.com secret")).startswith(b"NO [UNAVAILABLE]")


async def test_id_and_enable_and_namespace(house):
    async with house() as h:
        c = await h.connect()
        await c.response()
        assert (await c.ok('ID ("name" "test")'))[0].startswith(b'ID ("name" "Pillarbox" "version" "')
        await c.ok("LOGIN ada@example.com secret")
        assert await c.ok("ENABLE CONDSTORE X-NOTHING") == [b"ENABLED CONDSTORE"]
        assert await c.ok("ENABLE IMAP4rev2 QRESYNC") == [b"ENABLED IMAP4rev2 QRESYNC"]
        assert await c.ok("NAMESPACE") == [b'NAMESPACE (("" "/")) (("Other Users/" "/")) NIL']


async def test_logout(house):
    async with house() as h:
        c = await h.login("INBOX")
        assert (await c.ok("LOGOUT"))[0].startswith(b"BYE")
        assert await c.ended()


async def test_too_many_connections_and_draining_are_told(house):
    async with house(caps=Caps(1, 0)) as h:
        first = await h.connect()
        assert (await first.response()).startswith(b"* OK")
        second = await h.connect()
        assert (await second.response()).startswith(b"* BYE [UNAVAILABLE] Too many connections")
        h.node.draining = True
        third = await h.connect()
        assert (await third.response()).startswith(b"* BYE [UNAVAILABLE] The server is going down")


async def test_new_workers_do_not_throw_out_who_is_idle_but_ask_one_after_the_other(house, monkeypatch):
    async with house() as h:
        idle = await h.login("INBOX")
        (session,) = h.node.sessions
        session.leave(now=False)
        for _ in range(3):
            await idle.ok("NOOP")
        monkeypatch.setattr("pillarbox.session.leaving.later", lambda: 0.0)
        session.leave(now=False)
        assert (await idle.response()).startswith(b"* BYE The server is going down")
        assert await idle.ended()


async def test_a_drain_says_bye_to_who_is_idle(house):
    async with house() as h:
        idle = await h.login("INBOX")
        (session,) = h.node.sessions
        session.leave(now=True)
        assert (await idle.response()).startswith(b"* BYE The server is going down")
        assert await idle.ended()


async def test_when_the_time_is_up_bye_comes_within_a_transfer_too(house):
    async with house() as h:
        client = await h.login()
        await client.send(b"a APPEND INBOX {100}\r\n")
        assert (await client.response()).startswith(b"+ ")
        (session,) = h.node.sessions
        session.leave(now=True)
        session.part()
        assert (await client.response()).startswith(b"* BYE The server is going down")
        assert await client.ended()


async def test_a_changed_password_ends_the_session(house):
    async with house() as h:
        c = await h.login("INBOX")
        await h.node.store.write(directory.set_password, "ada@example.com", "$argon2id$x", "")
        await h.node.logins.check()
        assert (await c.response()).startswith(b"* BYE Your credentials have changed")
        assert await c.ended()


async def test_deadlines_before_and_after_the_login(house):
    async with house() as h:
        c = await h.connect()
        await c.response()
        (session,) = h.node.sessions
        now = asyncio.get_running_loop().time()
        assert 55 < session.deadline - now <= 60
        await c.send(b"x NOOP\r\n")
        await c.response()
        assert session.deadline - now <= 60  # chatting gives a stranger no more time
        await c.ok("LOGIN ada@example.com secret")
        assert session.deadline - now > 1700
        session.timed_out()
        assert (await c.response()).startswith(b"* BYE You have been idle")
        assert await c.ended()


async def test_a_flood_of_commands_is_answered_in_order(house):
    async with house() as h:
        c = await h.login("INBOX")
        await c.send(b"".join(b"x%d NOOP\r\n" % n for n in range(3_000)))
        for n in range(3_000):
            assert (await c.response()).startswith(b"x%d OK" % n)


async def test_unauthenticate_can_be_turned_off(house):
    """RFC 8437 section 8."""
    async with house(imap_unauthenticate=False) as h:
        c = await h.login()
        (told,) = await c.ok("CAPABILITY")
        assert b"UNAUTHENTICATE" not in told
        assert await c.refused("UNAUTHENTICATE") == b"BAD UNAUTHENTICATE is turned off on this server"
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
