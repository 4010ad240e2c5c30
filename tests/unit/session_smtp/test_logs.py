"""Lines that operators search for, word by word."""

import asyncio

import pytest

from pillarbox.access import authenticate
from pillarbox.access.limits import Role
from pillarbox.session import admission, smtp, smtp_connection, smtp_debug, smtp_envelope, smtp_receive
from pillarbox.session.smtp import SmtpSession


class Recorder:
    """Stands in for the loggers: (level, message, fields) of every line."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, level):
        return lambda event, *args, **fields: self.lines.append((level, event % args if args else event, fields))

    def said(self, start):
        return [line for line in self.lines if line[1].startswith(start)]


@pytest.fixture
def log(monkeypatch):
    recorder = Recorder()
    for module in (admission, smtp, smtp_connection, smtp_debug, smtp_envelope, smtp_receive, authenticate):
        monkeypatch.setattr(module, "log", recorder)
    return recorder


async def test_a_message_has_one_line_with_its_id_which_is_also_in_its_trace(house, log):
    async with house() as h:
        client = await h.greeted()
        await client.transaction("eve@example.org", "ada@example.com", "bob@example.com")
        await client.send(b"x: y\r\n\r\n.\r\n")
        await client.reply()
        ((level, text, fields),) = log.said("Message received")
        assert level == "info"
        assert text == "Message received: FROM=eve@example.org, recipients=2, size=8 bytes"
        assert fields["peer"].startswith("127.0.0.1:")
        assert f"id {fields['message_id']}".encode() in (await h.mail("ada@example.com"))[0]


async def test_connections_are_for_the_debug_log(house, log):
    async with house(log_level="debug") as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>")
        await client.say("QUIT")
        assert await client.ended()
        assert {level for level, *_ in log.lines} == {"debug"}
        texts = [text for _, text, _ in log.lines]
        assert texts[0].startswith("Connection from 127.0.0.1:")
        assert texts[0].endswith(": connected")
        assert any(text.endswith("] -> MAIL FROM:<eve@example.org>") for text in texts)
        assert any(text.endswith("] <- 250 2.1.0 OK") for text in texts)


async def test_excesses_are_security_events(house, log):
    async with house(max_recipients=1, max_message_size=1024, rate_limit_per_ip=2) as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<>", "RCPT TO:<ada@example.com>", "RCPT TO:<bob@example.com>", "RSET")
        await client.say("MAIL FROM:<> SIZE=9999")
        await client.message("", "ada@example.com", b"x" * 2000 + b"\r\n")
        await client.say("MAIL FROM:<>")
        excesses = [text.partition(": ")[2] for _, text, _ in log.said("Security event from 127.0.0.1")]
        assert excesses == [
            "Max recipients limit exceeded",
            "Message size too large",
            "Message size too large",
            "Rate limit exceeded",
        ]


async def test_too_many_connections(house, log):
    async with house(max_connections=1) as h:
        port = await h.listen()
        first = await h.connect(port=port)
        await first.reply()
        second = await h.connect(port=port)
        await second.reply()
        assert log.said("Max connections (1) reached, rejecting new connection")


async def test_refused_recipients_say_who_and_why(house, log):
    async with house() as h:
        client = await h.greeted()
        await client.say("MAIL FROM:<eve@example.org>", "RCPT TO:<no@example.com>")
        ((_, text, fields),) = log.said("Recipient refused")
        assert text.startswith("Recipient refused: FROM=eve@example.org TO=no@example.com: 550 ")
        assert fields["message_id"]


async def test_lmtp_over_a_unix_socket(house, log, tmp_path):
    async with house() as h:
        path = str(tmp_path / "lmtp.sock")
        server = await asyncio.get_running_loop().create_unix_server(lambda: SmtpSession(h.node, Role.LMTP), path)
        h.servers.append(server)
        reader, writer = await asyncio.open_unix_connection(path)
        client = h.adopt(reader, writer)
        assert await client.reply() == "220 mx.example.com LMTP Service Ready"
        await client.say("LHLO relay.example.com")
        assert (await client.message("eve@example.org", "ada@example.com")).startswith("250")
        ((_, _, fields),) = log.said("Message received")
        assert fields["peer"] == "local"
        assert b"Received: from relay.example.com by mx.example.com with LMTP" in (await h.mail("ada@example.com"))[0]
