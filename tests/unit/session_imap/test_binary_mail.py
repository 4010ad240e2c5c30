"""Mail with NULs, however it comes: every reader has its content whole, by BINARY the very octets (RFC 3516)."""

import asyncio
import base64
import poplib
import random
import re

import pytest

from house import ADA
from pillarbox.access.limits import Role
from pillarbox.session.outgoing_content import Content
from pillarbox.session.pop3 import Pop3Session
from pillarbox.session.smtp import SmtpSession
from pillarbox.store.errors import Full

OCTETS = bytes(range(256)) * 3 + b"\r\0\n\r\n--not a boundary\r\n\0"
LETTER = (
    b"From: Bob <bob@example.org>\r\nSubject: photo\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\nContent-Transfer-Encoding: binary\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    b"--b\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: binary\r\n\r\n%b\r\n"
    b"--b--\r\n"
)
PHOTO = LETTER % OCTETS
SIGNED = PHOTO.replace(b"multipart/mixed", b"multipart/signed; micalg=pgp-sha256")


def value(response, label):
    """The literal after a label."""
    found = re.search(re.escape(label) + rb" ~?\{(\d+)\}\r\n", response)
    return response[found.end() : found.end() + int(found[1])]


async def append(c, *messages, mailbox="INBOX"):
    """Append them as literal8s by one command; the tagged response."""
    await c.send(b"x APPEND " + mailbox.encode())
    for message in messages:
        await c.send(b" ~{%d+}\r\n" % len(message) + message)
    await c.send(b"\r\n")
    return (await c.until(b"x"))[-1]


async def check(c, number, octets=OCTETS):
    """The message is described as it is given, and by every way its second part is these octets."""
    (response,) = await c.ok(f"FETCH {number} (RFC822.SIZE BODYSTRUCTURE BINARY.SIZE[2])")
    assert b'"IMAGE" "PNG"' in response.upper()
    assert b"BINARY.SIZE[2] %d" % len(octets) in response
    (whole,) = await c.ok(f"FETCH {number} BODY.PEEK[]")
    whole = value(whole, b"BODY[]")
    assert int(re.search(rb"RFC822\.SIZE (\d+)", response)[1]) == len(whole)
    assert b"binary" not in whole
    (part,) = await c.ok(f"FETCH {number} BODY.PEEK[2]")
    part = value(part, b"BODY[2]")
    assert b'NIL NIL "BASE64" %d ' % len(part) in response
    assert part in whole
    assert base64.b64decode(part) == octets
    (binary,) = await c.ok(f"FETCH {number} BINARY.PEEK[2]")
    assert b"BINARY[2] ~{%d}\r\n" % len(octets) in binary
    assert value(binary, b"BINARY[2]") == octets
    (slice_,) = await c.ok(f"FETCH {number} BINARY.PEEK[2]<255.3>")
    assert value(slice_, b"BINARY[2]<255>") == octets[255:258]
    return whole


async def blobs_in_all(h):
    return (await h.node.store.scan(lambda tx: tx.row("SELECT count(*) FROM blobs")))[0]


async def only_blobs(h, count):
    """What waited while it was encoded is freed."""
    for _ in range(500):
        if await blobs_in_all(h) == count:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_append(make_house):
    async with make_house() as h:
        c = await h.login("INBOX")
        assert (await append(c, PHOTO)).startswith(b"x OK [APPENDUID ")
        whole = await check(c, 1)
        assert b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n" in whole
        (header,) = await c.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (Content-Transfer-Encoding)]")
        assert b"Content-Transfer-Encoding: 8bit\r\n" in header
        assert h.node.memory.used == 0
        assert await only_blobs(h, 1)


async def test_a_message_that_is_binary_itself(house):
    async with house() as h:
        c = await h.login("INBOX")
        assert b" OK " in await append(c, b"a: 1\r\n\r\n\0\1\2")
        (response,) = await c.ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])")
        assert response == b"1 FETCH (BINARY[1] ~{3}\r\n\0\1\2 BINARY.SIZE[1] 3)"
        (response,) = await c.ok("FETCH 1 BODY.PEEK[TEXT]")
        assert value(response, b"BODY[TEXT]") == base64.b64encode(b"\0\1\2")


async def test_without_a_nul_nothing_changes(house):
    async with house() as h:
        c = await h.login("INBOX")
        message = LETTER % b"bare \r and \n \x80\xff"
        assert b" OK " in await append(c, message)
        (response,) = await c.ok("FETCH 1 BODY.PEEK[]")
        assert value(response, b"BODY[]") == message


async def test_several_in_one_command(house):
    async with house() as h:
        c = await h.login("INBOX")
        other = b"Subject: plain\r\n\r\ntext\r\n"
        assert b" OK " in await append(c, PHOTO, other, LETTER % b"\0")
        await check(c, 1)
        (response,) = await c.ok("FETCH 2 BODY.PEEK[]")
        assert value(response, b"BODY[]") == other
        await check(c, 3, b"\0")
        assert b" NO [UNKNOWN-CTE] " in await append(c, PHOTO, other, SIGNED)
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 3)"]
        assert await only_blobs(h, 3)


async def test_put_together_and_replaced(house):
    async with house() as h:
        c = await h.login("INBOX")
        await append(c, PHOTO)
        header, _, _ = PHOTO.partition(b"--b")
        part = b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        first = header + b"--b\r\n\r\nhello\r\n" + part
        await c.send(
            b"x APPEND INBOX CATENATE (TEXT {%d+}\r\n%b TEXT ~{%d+}\r\n%b TEXT {9+}\r\n\r\n--b--\r\n)\r\n"
            % (len(first), first, len(OCTETS), OCTETS)
        )
        assert (await c.until(b"x"))[-1].startswith(b"x OK")
        await check(c, 2)
        await c.ok("APPEND INBOX CATENATE (URL /INBOX/;UID=2)")
        await check(c, 3)
        message = LETTER % b"\0new\0"
        await c.send(b"x REPLACE 1 INBOX ~{%d+}\r\n%b\r\n" % (len(message), message))
        assert (await c.until(b"x"))[-1].startswith(b"x OK")
        await check(c, 3, b"\0new\0")


async def test_a_url_of_it(house):
    async with house() as h:
        c = await h.login("INBOX")
        await append(c, PHOTO)
        url = "imap://ada%40example.com@mx.example.com/INBOX/;UID=1/;SECTION=2;URLAUTH=anonymous"
        (told,) = await c.ok(f'GENURLAUTH "{url}" INTERNAL')
        url = told.removeprefix(b"GENURLAUTH ").strip(b'"')
        (told,) = await c.ok(b'URLFETCH "' + url + b'"')
        assert base64.b64decode(value(told, b'"' + url + b'"')) == OCTETS
        (told,) = await c.ok(b'URLFETCH ("' + url + b'" BINARY)')
        assert value(told, b"(BINARY") == OCTETS


async def test_a_large_one(make_house):
    async with make_house() as h:
        c = await h.login("INBOX")
        octets = random.Random(5).randbytes(2_500_000)
        assert b" OK " in await append(c, LETTER % octets)
        await check(c, 1, octets)
        assert h.node.memory.used == 0
        assert await only_blobs(h, 1)


@pytest.mark.parametrize(
    "message",
    [
        SIGNED,
        b"Subject: a NUL \0 in it\r\n\r\ntext\r\n",
        PHOTO.replace(b"--b\r\n", b"\0\r\n--b\r\n", 1),
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nAA\0AA\r\n",
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: x-uue\r\n\r\n\0\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: \0\r\n",
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="none"\r\n\r\n\0\r\n',
        b"\0" * 300_000,
    ],
)
async def test_what_cannot_be_encoded(house, message):
    async with house() as h:
        c = await h.login("INBOX")
        assert (await append(c, message)).startswith(b"x NO [UNKNOWN-CTE] A NUL ")
        assert await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
        assert h.node.memory.used == 0
        assert await only_blobs(h, 0)
        await append(c, PHOTO)
        await check(c, 1)


async def test_what_is_signed_beside_it_stays_as_it_is(house):
    async with house() as h:
        c = await h.login("INBOX")
        inner = SIGNED.replace(b'"b"', b'"c"').replace(b"--b", b"--c").replace(OCTETS, b"bare \n and \r")
        inner = inner.partition(b"MIME-Version: 1.0\r\n")[2]
        message = PHOTO.replace(b"--b--\r\n", b"--b\r\n" + inner + b"\r\n--b--\r\n")
        assert b" OK " in await append(c, message)
        (response,) = await c.ok("FETCH 1 BODY.PEEK[]")
        assert inner in value(response, b"BODY[]")
        (response,) = await c.ok("FETCH 1 BINARY.PEEK[2]")
        assert value(response, b"BINARY[2]") == OCTETS


async def test_a_store_that_fails_while_it_is_encoded(house, monkeypatch):
    async def fails(self):
        raise Full("no room")

    async with house() as h:
        c = await h.login("INBOX")
        with monkeypatch.context() as patched:
            patched.setattr(Content, "encode_nul", fails)
            assert b" NO [UNAVAILABLE] " in await append(c, b"Subject: plain\r\n\r\ntext\r\n", PHOTO)
        assert await only_blobs(h, 0)
        assert h.node.memory.used == 0
        await append(c, PHOTO)
        await check(c, 1)


async def test_a_client_that_leaves_while_it_is_encoded(house, monkeypatch):
    begun, go_on = asyncio.Event(), asyncio.Event()
    encode = Content.encode_nul

    async def waits(self):
        begun.set()
        await go_on.wait()
        await encode(self)

    monkeypatch.setattr(Content, "encode_nul", waits)
    async with house() as h:
        c = await h.login("INBOX")
        await c.send(b"x APPEND INBOX ~{%d+}\r\n%b\r\n" % (len(PHOTO), PHOTO))
        await asyncio.wait_for(begun.wait(), 10)
        c.writer.transport.abort()
        await h.closed()
        go_on.set()
        c = await h.login()
        for _ in range(500):  # it was whole
            if await c.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 1)"]:
                break
            await asyncio.sleep(0.01)
        await c.ok("SELECT INBOX")
        await check(c, 1)
        assert await only_blobs(h, 1)
        assert h.node.memory.used == 0


async def test_from_smtp_to_imap_and_pop3(house):
    async with house() as h:
        port = h.open_port(h.node, lambda peer: SmtpSession(h.node, Role.SMTP, peer))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"EHLO client\r\nMAIL FROM:<eve@example.org> BODY=BINARYMIME\r\nRCPT TO:<%b>\r\nBDAT %d LAST\r\n%bQUIT\r\n"
            % (ADA.encode(), len(PHOTO), PHOTO)
        )
        assert b"OK: Message accepted" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        c = await h.login("INBOX")
        whole = await check(c, 1)

        port = h.open_port(h.node, lambda peer: Pop3Session(h.node, peer), implicit_tls=True)

        def retrieve():
            client = poplib.POP3_SSL("localhost", port, context=h.client_tls, timeout=10)
            client.user(ADA)
            client.pass_("secret")
            _, lines, _ = client.retr(1)
            client.quit()
            return b"\r\n".join(lines) + b"\r\n"

        assert await asyncio.to_thread(retrieve) == whole
