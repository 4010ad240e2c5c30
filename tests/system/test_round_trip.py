"""Every message of the foreign test data goes in by SMTP and comes back by IMAP, octet for octet."""

import os
import re
from email import message_from_bytes
from pathlib import Path

import pytest

from running import without_trace

DATA = os.environ.get("PILLARBOX_TEST_DATA")
FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|\r\n")
pytestmark = pytest.mark.skipif(not DATA, reason="PILLARBOX_TEST_DATA is not set: no foreign messages to send")


def corpus() -> list[Path]:
    """Messages of the test data; the other files beside them are expected results."""
    return sorted(p for p in Path(DATA or "/nonexistent").glob("mime/**/*") if p.suffix in (".eml", ".msg"))


def crlf(raw: bytes) -> bytes:
    """Files with bare LF only are Unix text: their lines end in CRLF on the wire."""
    return raw.replace(b"\n", b"\r\n") if b"\r" not in raw else raw


def is_text(message: bytes) -> bool:
    ends = message.count(b"\r\n")
    return message.count(b"\r") == message.count(b"\n") == ends and b"\0" not in message


def kept(message: bytes) -> bytes:
    """What stands behind the trace: the message, after an empty line where it has no header section of its own."""
    return message if FIRST_FIELD.match(message) else b"\r\n" + message


def begin(client, recipient: str, *options: str) -> None:
    client.ehlo()
    assert client.mail("sender@elsewhere.test", list(options))[0] == 250
    assert client.rcpt(recipient)[0] == 250


def by_data(client, recipient: str, message: bytes) -> tuple[int, bytes]:
    """smtplib's own `data` mends line ends; these octets go out as they are."""
    begin(client, recipient, "BODY=8BITMIME")
    client.putcmd("DATA")
    assert client.getreply()[0] == 354
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    client.send((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
    return client.getreply()


def by_bdat(client, recipient: str, message: bytes) -> tuple[int, bytes]:
    begin(client, recipient, "BODY=BINARYMIME")
    half = len(message) // 2
    client.send(b"BDAT %d\r\n" % half + message[:half])
    assert client.getreply()[0] == 250
    client.send(b"BDAT %d LAST\r\n" % (len(message) - half) + message[half:])
    return client.getreply()


def newest(server, message_item: str = "BODY.PEEK[]") -> bytes:
    client = server.imap()
    client.select("INBOX", readonly=True)
    _, data = client.fetch("*", f"({message_item})")
    client.logout()
    return next(item[1] for item in data if isinstance(item, tuple))


def test_there_are_messages_of_every_kind():
    kinds = {is_text(crlf(path.read_bytes())) for path in corpus()}
    assert kinds == {True, False}
    assert len(corpus()) >= 85


@pytest.mark.parametrize("path", corpus(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_message_comes_back_octet_for_octet(server, path):
    message = crlf(path.read_bytes())
    recipient = server.accounts[0][0]
    with server.smtp() as client:
        if is_text(message):
            ended = message if message.endswith(b"\r\n") else message + b"\r\n"  # DATA ends with a whole line
            assert by_data(client, recipient, ended)[0] == 250
            assert without_trace(newest(server)) == kept(ended)
        else:
            assert by_data(client, recipient, message + (b"" if message.endswith(b"\r\n") else b"\r\n"))[0] == 554
        assert by_bdat(client, recipient, message)[0] == 250
    if b"\0" not in message:
        assert without_trace(newest(server, "BINARY.PEEK[]")) == kept(message)
        assert without_trace(newest(server)) == kept(message)
        return
    back = newest(server)  # its binary parts are encoded
    assert b"\0" not in back
    assert contents(back) == contents(message)


def contents(message: bytes) -> list[tuple[str, object]]:
    """Type and decoded content of every part."""
    parts = message_from_bytes(message).walk()
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in parts]


def test_lines_of_64_kib_are_taken(server):
    message = b"Subject: long line\r\n\r\n" + b"x" * (64 * 1024 - 2) + b"\r\nend\r\n"
    with server.smtp() as client:
        assert by_data(client, server.accounts[0][0], message)[0] == 250
    assert without_trace(newest(server)) == message


def test_a_large_message_comes_back(server):
    message = b"Subject: large\r\n\r\n" + b"".join(b"line %d of many\r\n" % n for n in range(200_000))
    with server.smtp() as client:
        assert by_data(client, server.accounts[0][0], message)[0] == 250
    assert without_trace(newest(server)) == message


def test_a_message_without_header_is_all_text(server):
    message = b"no field here\r\nsecond line\r\n"
    with server.smtp() as client:
        assert by_data(client, server.accounts[0][0], message)[0] == 250
    assert newest(server, "BODY.PEEK[HEADER]").endswith(b"+0000\r\n\r\n")
    assert newest(server, "BODY.PEEK[TEXT]") == message
