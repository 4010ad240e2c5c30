"""A client that we did not write: the standard library's imaplib."""

import asyncio
import imaplib
import ssl

MESSAGE = b"From: a@example.org\r\nTo: ada@example.com\r\nSubject: imaplib\r\n\r\nHello.\r\n"


def whole_round(port, context):
    """Log in, append, search, fetch, flag, copy, idle nothing, expunge, log out."""
    with imaplib.IMAP4("127.0.0.1", port) as client:
        assert "STARTTLS" in client.capabilities
        client.host = "localhost"
        client.starttls(context)
        client.login("ada@example.com", "secret")
        assert "UIDPLUS" in client.capabilities or client.capability()[0] == "OK"
        assert client.append("INBOX", "\\Seen", None, MESSAGE)[0] == "OK"
        assert client.select("INBOX") == ("OK", [b"1"])
        assert client.search(None, "SUBJECT", "imaplib") == ("OK", [b"1"])
        _, ((_, content), *_) = client.fetch("1", "(RFC822)")
        assert client.uid("FETCH", "1:*", "(FLAGS)")[0] == "OK"
        assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
        assert client.copy("1", "Archive")[0] == "OK"
        assert client.expunge() == ("OK", [b"1"])
        assert client.status("Archive", "(MESSAGES)") == ("OK", [b"Archive (MESSAGES 1)"])
        assert client.create("Neu")[0] == "OK"
        assert client.rename("Neu", "Alt")[0] == "OK"
        assert any(b"Alt" in line for line in client.list()[1])
        assert client.unselect()[0] == "OK"
        return content


async def test_imaplib(house):
    async with house() as h:
        port = await h.listen()
        assert await asyncio.to_thread(whole_round, port, h.client_tls) == MESSAGE


def over_tls(port, context):
    with imaplib.IMAP4_SSL("localhost", port, ssl_context=context) as client:
        client.authenticate("PLAIN", lambda _: b"\0ada@example.com\0secret")
        client.select("INBOX", readonly=True)
        return client.fetch("1:*", "(UID ENVELOPE)")


async def test_imaplib_over_tls(house):
    async with house() as h:
        await h.put()
        port = await h.listen(implicit_tls=True)
        assert isinstance(h.client_tls, ssl.SSLContext)
        status, (line,) = await asyncio.to_thread(over_tls, port, h.client_tls)
        assert status == "OK"
        assert line.startswith(b'1 (UID 1 ENVELOPE ("Mon, 7 Feb 2022')
