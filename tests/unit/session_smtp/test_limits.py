"""Connections, rates, deadlines, errors of the store: what is refused, with which words."""

import asyncio
import socket
import struct

import pytest

from pillarbox.access.ledger import SUPERVISOR, Field
from pillarbox.access.limits import Caps, Role
from pillarbox.session.smtp import SmtpSession
from pillarbox.store.errors import Busy, Full, IoFault


async def test_one_connection_too_many_is_told_to_come_back(house):
    async with house(max_connections=2) as h:
        port = await h.listen()
        first, second = await h.connect(port=port), await h.connect(port=port)
        await first.reply(), await second.reply()
        third = await h.connect(port=port)
        assert await third.reply() == "421 4.3.2 Too many connections, try again later"
        assert await third.ended()
        await first.say("QUIT")
        assert await first.ended()
        fourth = await h.connect(port=port)
        assert (await fourth.reply()).startswith("220")


async def test_one_connection_too_many_of_an_address(house):
    async with house(caps=Caps(server=100, address=1)) as h:
        port = await h.listen()
        first = await h.connect(port=port)
        await first.reply()
        second = await h.connect(port=port)
        assert (await second.reply()).startswith("421 4.7.0")


async def test_who_has_gone_before_it_was_taken_does_not_pass_for_a_program_of_this_machine(house):
    async with house() as h:
        port = await h.listen()
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"EHLO x\r\n")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it resets
        later = await h.connect(port=port)
        assert (await later.reply()).startswith("220")
        assert h.node.slot.get(Field.CONNECTIONS_TOTAL) == 1


@pytest.mark.parametrize("trusted", [False, True])
async def test_the_hourly_rate_of_an_address_from_which_loopback_can_be_exempt(house, trusted):
    async with house(rate_limit_per_ip=2, trust_loopback=trusted) as h:
        client = await h.greeted()
        for _ in range(2):
            assert (await client.message("", "ada@example.com")).startswith("250")
        reply = await client.say("MAIL FROM:<>")
        if trusted:
            assert reply.startswith("250")
        else:
            assert reply == "450 4.7.1 Rate limit exceeded, try again later"
            assert h.node.slot.get(Field.RATE_LIMIT_HITS) == 1
            lmtp = await h.greeted(Role.LMTP)
            assert (await lmtp.say("MAIL FROM:<>")).startswith("250")


async def test_too_many_recipients_and_too_large_messages(house):
    async with house(max_recipients=1, max_message_size=1024) as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>")
        assert (await client.say("RCPT TO:<bob@example.com>")).startswith("452 4.5.3")
        assert (await client.say("RSET")).startswith("250")
        assert (await client.say("MAIL FROM:<> SIZE=1025")).startswith("552 5.3.4")
        assert (await client.message("", "ada@example.com", b"x" * 1100 + b"\r\n")).startswith("552 5.3.4")
        assert (await client.message("", "ada@example.com", b"x" * 1000 + b"\r\n")).startswith("250")
        assert len(await h.mail("ada@example.com")) == 1


async def test_too_many_errors_close_the_connection(house):
    async with house() as h:
        client = await h.greeted()
        await client.send(b"NONSENSE\r\n" * 5)
        replies = [(await client.reply())[:3] for _ in range(5)]
        assert replies == ["500"] * 4 + ["421"]
        assert await client.ended()


async def test_maintenance_sends_everybody_away(house):
    async with house() as h:
        h.node.slot.ledger.attach(SUPERVISOR).set(Field.MAINTENANCE, 1)
        client = await h.connect()
        assert (await client.reply()).startswith("421 4.3.2 Service under maintenance")
        assert await client.ended()


class LaterClock:
    """The loop's clock, some seconds ahead."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def later():
    """`later(house, seconds)` looks at all deadlines as they will be then."""

    def look(h, seconds):
        clock = LaterClock()
        clock.ahead = seconds
        h.node.deadlines._clock = clock
        h.node.deadlines.tick()
        h.node.deadlines._clock = None

    return look


async def test_who_does_not_greet_is_sent_away(house, later):
    async with house(greeting_timeout_seconds=30) as h:
        client = await h.connect()
        await client.reply()
        await client.send(b"EH")  # half a command is none
        later(h, 28)
        assert h.node.sessions
        later(h, 32)
        assert await client.reply() == "421 4.4.2 Connection timeout"
        assert await client.ended()


async def test_who_gives_no_command_is_sent_away_however_it_trickles(house, later):
    async with house(command_timeout_seconds=60) as h:
        client = await h.greeted()
        await client.send(b"MAI")
        later(h, 58)
        assert h.node.sessions
        await client.send(b"L")
        later(h, 63)
        assert (await client.reply()).startswith("421 4.4.2")


async def test_a_transfer_has_a_time_for_all_of_it(house, later):
    async with house(data_timeout_seconds=600, timeout_seconds=3600, command_timeout_seconds=60) as h:
        client = await h.greeted()
        await client.transaction("", "ada@example.com")
        await client.send(b"Subject: x\r\n")
        later(h, 590)
        assert h.node.sessions
        later(h, 602)
        assert await client.reply() == "451 4.4.2 DATA timeout - message transfer took too long"
        assert await client.ended()


async def test_after_the_content_the_time_for_a_command_holds_again(house, later):
    async with house(data_timeout_seconds=600, timeout_seconds=3600, command_timeout_seconds=60) as h:
        client = await h.greeted()
        assert (await client.message("", "ada@example.com")).startswith("250")
        later(h, 63)
        assert (await client.reply()).startswith("421")


class Failing:
    """The store, with writes or peeks that fail."""

    def __init__(self, store, *, write=None, peek=None):
        self.store, self.failure, self.peek_failure = store, write, peek

    def __getattr__(self, name):
        return getattr(self.store, name)

    def write(self, *args, **kw):
        if self.failure is None:
            return self.store.write(*args, **kw)
        future = asyncio.get_running_loop().create_future()
        future.set_exception(self.failure)
        return future

    def peek(self, *args, **kw):
        if self.peek_failure is None:
            return self.store.peek(*args, **kw)
        raise self.peek_failure


class Slow(Failing):
    """The store, whose next writes are not done until `go`."""

    def __init__(self, store):
        super().__init__(store)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    def write(self, *args, **kw):
        self.asked.set()
        return asyncio.ensure_future(self._later(*args, **kw))

    async def _later(self, *args, **kw):
        await self.go.wait()
        return await self.store.write(*args, **kw)


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
async def test_the_time_of_a_transfer_ends_with_the_content_and_not_with_our_commit(house, later, command):
    async with house(data_timeout_seconds=600, timeout_seconds=300, command_timeout_seconds=60) as h:
        client = await h.greeted()
        h.node.store = slow = Slow(h.node.store)
        await client.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>")
        if command == "DATA":
            await client.say("DATA")
            await client.send(b"x: y\r\n\r\n.\r\n")
        else:
            await client.send(b"BDAT 8 LAST\r\nx: y\r\n\r\n")
        await client.send(b"NOOP\r\n")
        await slow.asked.wait()
        later(h, 3000)
        slow.go.set()
        assert (await client.reply()).startswith("250 2.0.0 OK: Message accepted for delivery")
        assert (await client.reply()).startswith("250")


async def test_each_message_of_a_stream_has_a_time_of_its_own(house, later):
    async with house(data_timeout_seconds=600, timeout_seconds=3600, command_timeout_seconds=60) as h:
        client = await h.greeted()
        first = b"MAIL FROM:<>\r\nRCPT TO:<ada@example.com>\r\nBDAT 8\r\nx: y\r\n\r\n"
        await client.send(first)
        assert [(await client.reply())[:3] for _ in range(3)] == ["250"] * 3
        (session,) = h.node.sessions
        session._content_until -= 500  # it took that long
        await client.send(b"BDAT 1 LAST\r\nz" + first)
        assert [(await client.reply())[:3] for _ in range(4)] == ["250"] * 4
        later(h, 590)
        assert (await client.say("BDAT 0 LAST")).startswith("250")


async def test_who_does_not_take_our_last_words_is_cut_off(house, later):
    async with house() as h:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server = await asyncio.get_running_loop().create_server(lambda: SmtpSession(h.node), sock=listener)
        h.servers.append(server)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, listener.getsockname())
        await loop.sock_sendall(sock, b"EHLO x\r\n" + b"HELP\r\n" * 190 + b"QUIT\r\n")
        for _ in range(1000):
            await asyncio.sleep(0)
        assert all(session.core.closed for session in h.node.sessions)
        assert any(session.transport.get_write_buffer_size() for session in h.node.sessions)
        later(h, 10)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not h.node.sessions
        sock.close()


async def test_a_session_is_asked_to_leave_between_two_messages_not_within_one(house):
    async with house() as h:
        idle, busy = await h.greeted(), await h.greeted()
        await busy.transaction("", "ada@example.com")
        h.node.draining = True
        for session in tuple(h.node.sessions):
            session.leave(now=True)
        assert (await idle.reply()).startswith("421 4.3.2")
        assert await idle.ended()
        await busy.send(b"Subject: x\r\n\r\n.\r\n")
        assert (await busy.reply()).startswith("250")
        assert (await busy.reply()).startswith("421 4.3.2")
        assert await busy.ended()
        late = await h.connect()
        assert (await late.reply()).startswith("421 4.3.2")


async def test_new_workers_do_not_throw_out_who_is_idle_but_ask_one_after_the_other(house, monkeypatch):
    async with house() as h:
        idle = await h.greeted()
        (session,) = h.node.sessions
        session.leave(now=False)
        assert (await idle.message("", "ada@example.com")).startswith("250")
        assert (await idle.say("NOOP")).startswith("250")
        monkeypatch.setattr("pillarbox.session.leaving.later", lambda: 0.0)
        session.leave(now=False)
        assert (await idle.reply()).startswith("421 4.3.2")
        assert await idle.ended()


@pytest.mark.parametrize("content", [b"", b"DATA\r\n", b"BDAT 100\r\nSubject: "])
async def test_when_the_time_is_up_the_goodbye_comes_within_a_transaction_too(house, content):
    async with house() as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>")
        await client.send(content)
        (session,) = h.node.sessions
        if content.startswith(b"DATA"):
            assert (await client.reply()).startswith("354")
        while content and not session.core.receiving:
            await asyncio.sleep(0.001)
        session.leave(now=True)
        session.part()
        assert await client.reply() == "421 4.3.2 Service shutting down, try again later"
        assert await client.ended()
        assert await h.mail("ada@example.com") == []


async def test_the_goodbye_does_not_take_the_place_of_an_answer(house):
    async with house() as h:
        client = await h.greeted()
        h.node.store = slow = Slow(h.node.store)
        await client.transaction("", "ada@example.com")
        await client.send(b"x: y\r\n\r\n.\r\n")
        await slow.asked.wait()
        (session,) = h.node.sessions
        session.leave(now=True)
        session.part()
        slow.go.set()
        assert (await client.reply()).startswith("250 2.0.0 OK: Message accepted")
        assert (await client.reply()).startswith("421 4.3.2")


@pytest.mark.parametrize(
    ("failure", "reply"), [(Full("disk"), "452 4.3.1"), (Busy("lock"), "451 4.3.0"), (IoFault("io"), "451 4.3.0")]
)
@pytest.mark.parametrize("size", [10, 600_000])
async def test_a_store_that_fails_is_a_temporary_error_and_it_goes_on_after(house, failure, reply, size):
    async with house() as h:
        client = await h.greeted()
        h.node.store = Failing(h.node.store, write=failure)
        body = b"Subject: x\r\n\r\n" + b"x\r\n" * (size // 3)
        assert (await client.message("", "ada@example.com", body)).startswith(reply)
        h.node.store.failure = None
        if isinstance(failure, Full):
            assert (await client.say("MAIL FROM:<>")).startswith("452 4.3.1")
            h.node.disk.low = False
        assert (await client.message("", "ada@example.com", body)).startswith("250")
        assert len(await h.mail("ada@example.com")) == 1


async def test_lmtp_says_a_failure_for_each_recipient(house):
    async with house() as h:
        client = await h.greeted(Role.LMTP)
        h.node.store = Failing(h.node.store, write=Busy("lock"))
        await client.transaction("", "ada@example.com", "bob@example.com")
        await client.send(b"x: y\r\n\r\n.\r\n")
        assert [(await client.reply())[:9] for _ in range(2)] == ["451 4.3.0"] * 2
        assert (await client.say("NOOP")).startswith("250")


async def test_a_lookup_that_must_not_be_done_on_the_loop_is_done_elsewhere(house):
    async with house() as h:
        h.node.routes._store = Failing(h.node.store, peek=Busy("lock"))
        client = await h.greeted()
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<ada@example.com>\r\nRCPT TO:<no@example.com>\r\nNOOP\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "550", "250"]


async def test_a_lookup_that_fails_is_a_temporary_error(house):
    async with house() as h:
        h.node.routes._store = Failing(h.node.store, peek=IoFault("io"))
        client = await h.greeted()
        await client.say("MAIL FROM:<>")
        assert (await client.say("RCPT TO:<ada@example.com>")).startswith("451 4.3.0")


async def test_with_a_full_disk_no_mail_is_begun(house):
    async with house() as h:
        client = await h.greeted()
        h.node.disk.full()
        assert (await client.say("MAIL FROM:<>")).startswith("452 4.3.1")


async def test_a_transaction_that_was_refused_at_data_leaves_nothing_to_the_next(house):
    async with house() as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>")
        h.node.disk.full()
        assert (await client.say("DATA")).startswith("452 4.3.1")
        h.node.disk.low = False
        assert (await client.message("", "bob@example.com")).startswith("250")
        assert (len(await h.mail("ada@example.com")), len(await h.mail("bob@example.com"))) == (0, 1)


@pytest.mark.parametrize("method", ["read", "now"])
async def test_an_error_where_nothing_waits_ends_the_connection_with_421_too(house, method, monkeypatch):
    async with house() as h:
        client = await h.greeted()

        def fault(*args):
            raise RuntimeError("a fault of ours")

        if method == "now":
            monkeypatch.setattr(h.node.routes, "now", fault)
        else:
            h.node.routes._store = Failing(h.node.store, peek=Busy("x"))
            monkeypatch.setattr(h.node.store, "read", fault)
        await client.say("MAIL FROM:<>")
        assert (await client.say("RCPT TO:<ada@example.com>")).startswith("421 4.3.0")
        assert await client.ended()


async def test_an_unforeseen_error_ends_the_connection_with_421_and_not_in_silence(house):
    async with house() as h:
        client = await h.greeted()
        h.node.store = Failing(h.node.store, write=RuntimeError("a fault of ours"))
        await client.transaction("", "ada@example.com")
        await client.send(b"x: y\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("421 4.3.0")
        assert await client.ended()
