"""URLs for somebody else: RFC 4467."""

from house import MESSAGE

BASE = "imap://ada%40example.com@mx.example.com/INBOX/;UID=1"


async def made(c, url):
    (told,) = await c.ok(f'GENURLAUTH "{url}" INTERNAL')
    return told.removeprefix(b"GENURLAUTH ").strip(b'"').decode()


async def fetched(c, url):
    (told,) = await c.ok(f'URLFETCH "{url}"')
    return told.removeprefix(f'URLFETCH "{url}" '.encode())


async def test_a_url_for_bob(house):
    async with house() as h:
        await h.put(MESSAGE)
        ada, bob = await h.login(), await h.login(user="bob@example.com")
        url = await made(ada, BASE + "/;SECTION=TEXT;URLAUTH=user+bob%40example.com")
        assert await fetched(bob, url) == b"{18}\r\nHow about lunch?\r\n"
        assert await fetched(ada, url) == b"NIL"
        last = "0" if url[-1] != "0" else "1"
        assert await fetched(bob, url[:-1] + last) == b"NIL"
        assert await fetched(bob, url.replace("UID=1", "UID=2")) == b"NIL"
        assert await fetched(bob, url.replace("SECTION=TEXT", "SECTION=HEADER")) == b"NIL"
        assert (await ada.done("RESETKEY INBOX INTERNAL")).startswith(b"OK [URLMECH INTERNAL]")
        assert await fetched(bob, url) == b"NIL"
        again = await made(ada, BASE + "/;SECTION=TEXT;URLAUTH=authuser")
        assert b"lunch" in await fetched(bob, again)
        await ada.ok("RESETKEY")
        assert await fetched(bob, again) == b"NIL"


async def test_a_url_that_is_over(house):
    async with house() as h:
        await h.put(MESSAGE)
        c = await h.login()
        over = await made(c, BASE + ";EXPIRE=2001-01-01T00:00:00Z;URLAUTH=anonymous")
        assert await fetched(c, over) == b"NIL"
        good = await made(c, BASE + ";EXPIRE=2999-01-01T00:00:00Z;URLAUTH=anonymous")
        assert await fetched(c, good) == b"{%d}\r\n%b" % (len(MESSAGE), MESSAGE)
        assert await fetched(c, good.replace("2999", "2998")) == b"NIL"
        assert await fetched(c, await made(c, BASE + ";URLAUTH=submit+ada")) == b"NIL"


async def test_what_cannot_be_authorized(house):
    async with house() as h:
        c = await h.login()
        for url in (BASE, "/INBOX/;UID=1;URLAUTH=anonymous", BASE.replace("ada", "bob") + ";URLAUTH=anonymous"):
            assert (await c.refused(f'GENURLAUTH "{url}" INTERNAL')).startswith(b"BAD")
        assert (await c.refused(f'GENURLAUTH "{BASE};URLAUTH=anonymous" ROT13')).startswith(b"BAD")
        told = await c.refused(f'GENURLAUTH "{BASE.replace("mx", "mail")};URLAUTH=anonymous" INTERNAL')
        assert told.endswith(b" begins with imap://ada%40example.com@mx.example.com/")
        elsewhere = BASE.replace("INBOX", "Nowhere") + ";URLAUTH=anonymous"
        assert b"[NONEXISTENT]" in await c.refused(f'GENURLAUTH "{elsewhere}" INTERNAL')
        assert b"[NONEXISTENT]" in await c.refused("RESETKEY Nowhere")
        assert await fetched(c, "what") == b"NIL"


LETTER = (
    b'From: a@example.com\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nhello\r\n'
    b"--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi\r\n"
    b"--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: rot13\r\n\r\nuryyb\r\n--x--\r\n"
)


async def test_a_part_without_its_encoding(house):
    """RFC 5524."""
    async with house() as h:
        await h.put(LETTER)
        c = await h.login()
        url = await made(c, BASE + "/;SECTION=2;URLAUTH=anonymous")

        async def told(parameters, url=url):
            (one,) = await c.ok(f'URLFETCH ("{url}"{parameters})')
            return one.removeprefix(f'URLFETCH "{url}" '.encode())

        assert await told(" BINARY") == b"(BINARY ~{3}\r\na\0b)"
        assert await told(" BODY") == b'(BODY "YQBi")' == await told("")
        assert await told(" BODYPARTSTRUCTURE body") == (
            b'(BODYPARTSTRUCTURE ("IMAGE" "PNG" NIL NIL NIL "BASE64" 4 NIL NIL NIL NIL)) (BODY "YQBi")'
        )
        assert await told(" BINARY BODYPARTSTRUCTURE") == (
            b'(BODYPARTSTRUCTURE ("IMAGE" "PNG" NIL NIL NIL "BINARY" 3 NIL NIL NIL NIL)) (BINARY ~{3}\r\na\0b)'
        )
        unknown = await made(c, BASE + "/;SECTION=3;URLAUTH=anonymous")
        assert await told(" BINARY", unknown) == b"(BINARY NIL)"
        assert await told(" BODY", url[:-1] + "g") == b"NIL"
        header = await made(c, BASE + "/;SECTION=HEADER;URLAUTH=anonymous")
        assert (await told(" BODYPARTSTRUCTURE", header)) == b"(BODYPARTSTRUCTURE NIL)"
        for wrong in (" BODY BINARY", " BODY BODY", " TEXT", " "):
            assert (await c.refused(f'URLFETCH ("{url}"{wrong})')).startswith(b"BAD")
