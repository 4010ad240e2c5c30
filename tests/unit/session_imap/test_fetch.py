"""FETCH: every item, sections, binary, \\Seen, large messages, many messages."""

import base64
import random
import re

import pytest

from pillarbox.imap.flags import ANSWERED, FLAGGED, SEEN
from pillarbox.store import blobs, messages
from pillarbox.store.errors import Corrupt
from waiting import until

MULTIPART = (
    b"Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"caf=C3=A9\r\n"
    b"--x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"AAECAwA=\r\n"
    b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: a@b\r\n\r\ninside\r\n"
    b"--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: rot13\r\n\r\nuryyb\r\n"
    b"--x--\r\n"
)


def value(response, label):
    """The literal after a label."""
    start = response.index(label + b" ") + len(label) + 1
    found = re.match(rb"~?\{(\d+)\}\r\n", response[start:])
    at = start + found.end()
    return response[at : at + int(found[1])]


async def test_items_from_the_columns(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", flags=SEEN | ANSWERED, date=0)
        await h.put(b"a: 1\r\n\r\nxx", flags=FLAGGED, keywords=("$Junk",), date=1_000_000_000)
        c = await h.login(enable="IMAP4rev2")
        await c.ok("SELECT INBOX")
        assert await c.ok("FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE)") == [
            b'1 FETCH (UID 1 FLAGS (\\Answered \\Seen) INTERNALDATE " 1-Jan-1970 00:00:00 +0000" RFC822.SIZE 8)',
            b'2 FETCH (UID 2 FLAGS (\\Flagged $Junk) INTERNALDATE " 9-Sep-2001 01:46:40 +0000" RFC822.SIZE 10)',
        ]
        assert await c.ok("UID FETCH 2 RFC822.SIZE") == [b"2 FETCH (UID 2 RFC822.SIZE 10)"]
        assert await c.ok("UID FETCH 7:9 FLAGS") == []
        assert await c.ok("UID FETCH 7:* FLAGS") == [b"2 FETCH (UID 2 FLAGS (\\Flagged $Junk))"]
        assert (await c.refused("FETCH 3 FLAGS")).startswith(b"BAD")
        assert (await c.refused("FETCH 1:3 FLAGS")).startswith(b"BAD")


async def test_macros_and_what_was_computed_at_delivery(house):
    async with house() as h:
        await h.put()
        c = await h.login("INBOX")
        (full,) = await c.ok("FETCH 1 FULL")
        assert b'ENVELOPE ("Mon, 7 Feb 2022 21:52:25 -0800" "Lunch" (("Bob" NIL "bob" "example.org"))' in full
        assert b'BODY ("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 18 1)' in full.upper()
        (structure,) = await c.ok("FETCH 1 BODYSTRUCTURE")
        assert structure.startswith(b"1 FETCH (BODYSTRUCTURE (")
        assert await c.ok("SEARCH UNSEEN") == [b"SEARCH 1"]


async def test_sections(house):
    async with house() as h:
        await h.put(MULTIPART)
        c = await h.login("INBOX")

        async def section(text):
            (response,) = await c.ok(f"FETCH 1 BODY.PEEK[{text}]")
            return value(response, f"BODY[{text.partition('<')[0]}]".encode())

        header, _, body = MULTIPART.partition(b"\r\n\r\n")
        assert await section("") == MULTIPART
        assert await section("HEADER") == header + b"\r\n\r\n"
        assert await section("TEXT") == body
        assert await section("1") == b"caf=C3=A9"
        assert await section("1.MIME") == (
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        )
        assert await section("3") == b"Subject: inner\r\nFrom: a@b\r\n\r\ninside"
        assert await section("3.HEADER") == b"Subject: inner\r\nFrom: a@b\r\n\r\n"
        assert await section("3.TEXT") == b"inside"
        assert await section("3.1") == b"inside"
        assert await section("HEADER.FIELDS (subject)") == b"Subject: parts\r\n\r\n"
        assert await section("HEADER.FIELDS.NOT (SUBJECT Content-Type)") == b"MIME-Version: 1.0\r\n\r\n"
        assert await section("3.HEADER.FIELDS (From)") == b"From: a@b\r\n\r\n"
        assert await c.ok("FETCH 1 BODY.PEEK[9]") == [b"1 FETCH (BODY[9] NIL)"]


async def test_partial_fetches(house):
    async with house() as h:
        await h.put(MULTIPART)
        c = await h.login("INBOX")
        for origin, length in ((0, 5), (3, 10), (0, 100_000), (len(MULTIPART) - 2, 50), (99_999, 5)):
            (response,) = await c.ok(f"FETCH 1 BODY.PEEK[]<{origin}.{length}>")
            assert value(response, b"BODY[]<%d>" % origin) == MULTIPART[origin : origin + length]
        (response,) = await c.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject)]<2.6>")
        assert value(response, b"BODY[HEADER.FIELDS (Subject)]<2>") == b"bject:"


async def test_the_old_names(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\ntext")
        c = await h.login("INBOX")
        assert value((await c.ok("FETCH 1 RFC822.HEADER"))[0], b"RFC822.HEADER") == b"a: 1\r\n\r\n"
        assert await c.ok("SEARCH SEEN") == [b"SEARCH"]
        assert value((await c.ok("FETCH 1 RFC822.TEXT"))[0], b"RFC822.TEXT") == b"text"
        assert await c.ok("SEARCH SEEN") == [b"SEARCH 1"]
        assert value((await c.ok("FETCH 1 RFC822"))[0], b"RFC822") == b"a: 1\r\n\r\ntext"


async def test_binary(house):
    async with house() as h:
        await h.put(MULTIPART)
        c = await h.login("INBOX")
        (response,) = await c.ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1] BINARY.SIZE[2] BINARY.SIZE[])")
        assert value(response, b"BINARY[1]") == "café".encode()
        assert response.endswith(b" BINARY.SIZE[1] 5 BINARY.SIZE[2] 5 BINARY.SIZE[] %d)" % len(MULTIPART))
        (response,) = await c.ok("FETCH 1 BINARY.PEEK[2]")
        assert b"BINARY[2] ~{5}\r\n\0\1\2\3\0" in response
        (response,) = await c.ok("FETCH 1 BINARY.PEEK[2]<1.2>")
        assert value(response, b"BINARY[2]<1>") == b"\1\2"
        assert b"[UNKNOWN-CTE]" in await c.refused("FETCH 1 BINARY.PEEK[4]")
        assert await c.ok("FETCH 1 BINARY.PEEK[9]") == [b"1 FETCH (BINARY[9] NIL)"]
        assert await c.ok("SEARCH SEEN") == [b"SEARCH"]
        await c.ok("FETCH 1 BINARY[1]")
        assert await c.ok("SEARCH SEEN") == [b"SEARCH 1"]


async def test_binary_of_an_unknown_encoding_fails_for_that_message_alone(house):
    async with house() as h:
        await h.put(MULTIPART, MULTIPART.replace(b"base64", b"x-base64"), MULTIPART)
        c = await h.login("INBOX")
        told, tagged = await c.do("FETCH 1:3 (UID BINARY[2])")
        assert tagged.startswith(b"NO [UNKNOWN-CTE]")
        assert [one.split(b" (")[0] for one in told] == [b"1 FETCH", b"3 FETCH"]
        assert await c.ok("SEARCH SEEN") == [b"SEARCH 1 3"]  # who was shown nothing has read nothing


async def test_a_page_of_what_was_computed_is_bounded_in_octets(house, monkeypatch):
    monkeypatch.setattr("pillarbox.session.imap_fetch.PAGE_OCTETS", 3000)
    pages = []
    async with house() as h:
        await h.put(*[b"n: %d\r\n\r\n%s" % (n, b"x" * 1000) for n in range(8)], b"n: 1\r\n\r\n")
        c = await h.login("INBOX")
        read = h.node.store.read

        async def noted(function, *args, **options):
            if function is messages.rendered:
                pages.append(len(args[0]))
            return await read(function, *args, **options)

        monkeypatch.setattr(h.node.store, "read", noted)
        assert len(await c.ok("FETCH 1:* (ENVELOPE EMAILID)")) == 9
        assert pages == [3, 3, 3]


async def test_a_message_with_nul_comes_whole_by_binary_only(house):
    async with house() as h:
        message = b"a: 1\r\n\r\n\0\1\0"
        await h.put(message)
        c = await h.login("INBOX")
        (response,) = await c.ok("FETCH 1 BINARY.PEEK[]")
        assert value(response, b"BINARY[]") == message
        (response,) = await c.ok("FETCH 1 BODY.PEEK[]")
        assert value(response, b"BODY[]") == message.replace(b"\0", b"\x80")


async def test_reading_sets_seen_once_and_tells_it(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\nx", b"b: 1\r\n\r\nx")
        c = await h.login(enable="CONDSTORE")
        await c.ok("SELECT INBOX")
        first = await c.ok("FETCH 1 BODY[TEXT]")
        assert re.fullmatch(rb"1 FETCH \(BODY\[TEXT\] \{1\}\r\nx FLAGS \(\\Seen \\Recent\) MODSEQ \(\d+\)\)", first[0])
        assert await c.ok("FETCH 1 BODY[TEXT]") == [b"1 FETCH (BODY[TEXT] {1}\r\nx)"]
        assert await c.ok("FETCH 2 (FLAGS BODY.PEEK[TEXT])") == [b"2 FETCH (FLAGS (\\Recent) BODY[TEXT] {1}\r\nx)"]
        (both,) = await c.ok("FETCH 2 (FLAGS BODY[TEXT])")
        assert both.count(b"FLAGS") == 1
        assert b"\\Seen" in both


async def test_reading_goes_on_when_nothing_can_be_written(house, monkeypatch):
    async with house() as h:
        from pillarbox.store.errors import Full

        await h.put(b"a: 1\r\n\r\nx")
        c = await h.login("INBOX")

        def write(*_, **__):
            raise Full("no room")

        with monkeypatch.context() as patched:
            patched.setattr(h.node.store, "write", write)
            assert await c.ok("FETCH 1 BODY[TEXT]") == [b"1 FETCH (BODY[TEXT] {1}\r\nx)"]
            assert (await c.refused("STORE 1 +FLAGS (\\Seen)")).startswith(b"NO [UNAVAILABLE]")


async def test_condstore_changedsince(house):
    async with house() as h:
        await h.put(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n", b"a: 3\r\n\r\n")
        c = await h.login("INBOX")
        responses = await c.ok("FETCH 1:3 (MODSEQ)")
        modseqs = [int(re.search(rb"MODSEQ \((\d+)\)", one)[1]) for one in responses]
        (told,) = await c.ok("STORE 2 +FLAGS (\\Flagged)")
        assert b"MODSEQ (" in told  # asking for MODSEQ has turned CONDSTORE on
        (changed,) = await c.ok(f"FETCH 1:3 (FLAGS) (CHANGEDSINCE {max(modseqs)})")
        assert changed.startswith(b"2 FETCH (FLAGS (\\Flagged \\Recent) MODSEQ (")
        (changed,) = await c.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {max(modseqs)})")
        assert changed.startswith(b"2 FETCH (UID 2 ")


@pytest.mark.parametrize("size", [255 * 1024, 300 * 1024, 3 << 20])
async def test_large_messages_come_whole_and_in_parts(house, size):
    async with house() as h:
        content = random.Random(1).randbytes(size // 2).hex().encode()
        message = b"Subject: large\r\n\r\n" + b"\r\n".join(content[at : at + 76] for at in range(0, len(content), 76))
        c = await h.login()
        await c.ok("APPEND INBOX {}", message)
        await c.ok("SELECT INBOX")
        assert h.node.memory.used == 0
        (whole,) = await c.ok("FETCH 1 (UID BODY.PEEK[] FLAGS)")
        assert value(whole, b"BODY[]") == message
        assert whole.endswith(b" FLAGS (\\Recent))")
        at = len(message) // 3
        (part,) = await c.ok(f"FETCH 1 BODY.PEEK[]<{at}.{len(message) // 2}>")
        assert value(part, b"BODY[]<%d>" % at) == message[at : at + len(message) // 2]
        (text,) = await c.ok("FETCH 1 BODY.PEEK[TEXT]")
        assert value(text, b"BODY[TEXT]") == message[18:]


async def test_binary_of_a_large_part_is_decoded_in_pieces(house):
    async with house() as h:
        content = random.Random(2).randbytes(1_500_000)
        encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
        message = (
            b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\n"
            + encoded
        )
        c = await h.login()
        await c.ok("APPEND INBOX {}", message)
        await c.ok("SELECT INBOX")
        (response,) = await c.ok("FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])")
        assert response.startswith(b"1 FETCH (BINARY.SIZE[1] 1500000 BINARY[1] ~{1500000}\r\n")
        assert value(response, b"BINARY[1]") == content
        (response,) = await c.ok("FETCH 1 BINARY.PEEK[1]<700000.700000>")
        assert value(response, b"BINARY[1]<700000>") == content[700_000:1_400_000]


async def test_many_messages_in_many_pages(house):
    async with house() as h:
        bodies = [b"n: %d\r\n\r\n%s" % (n, b"x" * (n * 37 % 5000)) for n in range(450)]
        await h.put(*bodies)
        c = await h.login("INBOX")
        responses = await c.ok("FETCH 1:* (UID BODY[])")
        assert [value(one, b"BODY[]") for one in responses] == bodies
        assert await c.ok("SEARCH UNSEEN") == [b"SEARCH"]
        assert len(await c.ok("FETCH 1:* (FLAGS UID RFC822.SIZE)")) == 450
        assert len(await c.ok("FETCH 1:5,7,440:* FLAGS")) == 17


SIZES = (10, 70_000, 10, 200_000, 60_000, 300_000, 10, 10, 250_000, 130_000, 130_000, 10)


async def test_messages_of_all_sizes_come_in_their_order(house):
    async with house() as h:
        made = random.Random(3)
        bodies = [b"n: %d\r\n\r\n%s" % (n, made.randbytes(size // 2).hex().encode()) for n, size in enumerate(SIZES)]
        await h.put(*bodies)
        c = await h.login("INBOX", enable="IMAP4rev2")
        for items, label in (("BODY.PEEK[]", b"BODY[]"), ("BODYSTRUCTURE BODY.PEEK[TEXT]", b"BODY[TEXT]")):
            responses = await c.ok(f"FETCH 1:* (UID {items} FLAGS)")
            assert [int(one.split()[0]) for one in responses] == list(range(1, len(SIZES) + 1))
            assert [len(value(one, label)) for one in responses] == [
                len(body) if label == b"BODY[]" else len(body.partition(b"\r\n\r\n")[2]) for body in bodies
            ]
        assert [value(one, b"BODY[]") for one in await c.ok("FETCH 1:* BODY.PEEK[]")] == bodies


async def test_octets_that_cannot_be_read_end_the_fetch_and_nothing_else(house, monkeypatch):
    async with house() as h:
        await h.put(*(b"n: %d\r\n\r\n%s" % (n, b"x" * 100_000) for n in range(12)))
        c = await h.login("INBOX", enable="IMAP4rev2")
        left = [5]

        def broken(piece, size, unpack=blobs.unpack):
            left[0] -= 1
            if left[0] == 0:
                raise Corrupt("a piece is broken")
            return unpack(piece, size)

        with monkeypatch.context() as patched:
            patched.setattr(blobs, "unpack", broken)
            told, tagged = await c.do("FETCH 1:* BODY.PEEK[]")
        assert tagged.startswith(b"NO [CORRUPTION]")
        assert [int(one.split()[0]) for one in told] == list(range(1, len(told) + 1))
        assert len(told) < 12  # which is the fifth to be read depends: the next batch is read meanwhile
        assert len(await c.ok("FETCH 1:* BODY.PEEK[]")) == 12


async def test_a_client_that_does_not_read_costs_little_and_ends_in_time(house):
    async with house() as h:
        # Much more than what the system keeps for a connection.
        await h.put(*[b"n: 1\r\n\r\n" + random.Random(n).randbytes(200_000) for n in range(90)])
        c = await h.connect(implicit_tls=False)
        await c.response()
        await c.ok("STARTTLS")
        await c.writer.start_tls(h.client_tls, server_hostname="localhost")
        await c.ok("LOGIN ada@example.com secret")
        await c.ok("SELECT INBOX")
        (session,) = h.node.sessions
        c.writer.transport.pause_reading()
        await c.send(b"x FETCH 1:* BODY.PEEK[]\r\n")
        await until(lambda: session._drained is not None)
        assert session.transport.get_write_buffer_size() < 1 << 20
        session.timed_out()
        await h.closed()
