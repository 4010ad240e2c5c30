"""EXTERNAL over TLS: clients with a certificate, without one, with a bad one, and behind a proxy."""

import asyncio
import ipaddress
import smtplib
import ssl
import time
from contextlib import suppress

import pytest

from client_certificates import Authority, log_in_by_pop3, submit_as_ada
from pillarbox.access import authenticate
from pillarbox.access.limits import Role
from pillarbox.server.certificates import context, read
from pillarbox.session import tls
from pillarbox.session.peer import Peer
from pillarbox.session.pop3 import Pop3Session
from pillarbox.session.smtp import SmtpSession


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(authenticate, "FAILURE", 0.0)


def asks(h, certificate, authority, revoked=b""):
    """From now on this house asks clients for a certificate."""
    chain, key = certificate
    h.node.tls.replace(context(read(key, chain), clients=authority.file.read_bytes() + revoked), None)


def shows(h, file):
    """From now on clients of this house show this one."""
    h.client_tls = ssl.create_default_context(cafile=None)
    h.client_tls.check_hostname, h.client_tls.verify_mode = False, ssl.CERT_NONE
    if file is not None:
        h.client_tls.load_cert_chain(file)


async def test_a_certificate_logs_in(house, certificate, authority):
    async with house() as h:
        asks(h, certificate, authority)
        shows(h, authority.issue("ada@example.com"))
        c = await h.connect()
        assert b"AUTH=EXTERNAL AUTH=SCRAM-SHA-256-PLUS " in await c.response()
        assert b"[CAPABILITY IMAP4rev1" in await c.done("AUTHENTICATE EXTERNAL =")
        await c.ok("SELECT INBOX")
        await c.ok("UNAUTHENTICATE")
        await c.send(b"x AUTHENTICATE EXTERNAL\r\n")
        assert await c.response() == b"+ "
        await c.send(b"YWRhQGV4YW1wbGUuY29t\r\n")  # ada@example.com
        assert b"x OK" in (await c.until(b"x"))[-1]
        await c.ok("UNAUTHENTICATE")
        answer = await c.refused("AUTHENTICATE EXTERNAL Ym9iQGV4YW1wbGUuY29t")  # bob@example.com
        assert b"NO [AUTHENTICATIONFAILED]" in answer


async def test_without_one_everything_is_as_it_was(house, certificate, authority):
    async with house() as h:
        asks(h, certificate, authority)
        shows(h, None)
        c = await h.connect()
        assert b"EXTERNAL" not in await c.response()
        assert (await c.refused("AUTHENTICATE EXTERNAL =")).startswith(b"NO the mechanisms are")
        await c.ok("LOGIN ada@example.com secret")


async def test_after_starttls(house, certificate, authority):
    async with house() as h:
        asks(h, certificate, authority)
        shows(h, authority.issue(subject=["bob@example.com"]))
        c = await h.connect(implicit_tls=False)
        await c.response()
        await c.ok("STARTTLS")
        await c.writer.start_tls(h.client_tls, server_hostname="localhost")
        await c.ok("AUTHENTICATE EXTERNAL =")
        (session,) = h.node.sessions
        assert session.username == "bob@example.com"


async def test_bad_certificates_end_the_handshake(house, certificate, authority, tmp_path):
    async with house() as h:
        good, withdrawn = authority.issue("ada@example.com"), authority.issue("ada@example.com")
        asks(h, certificate, authority, authority.revoked(withdrawn))
        other = Authority(tmp_path, "Another").issue("ada@example.com")
        server_only = authority.issue("ada@example.com", usage=ssl_usage())
        for file in (other, withdrawn, server_only, authority.issue("ada@example.com", ended=True)):
            shows(h, file)
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                c = await h.connect()
                await c.response()
        shows(h, good)
        c = await h.connect()
        assert b"AUTH=EXTERNAL" in await c.response()


def ssl_usage():
    from cryptography.x509.oid import ExtendedKeyUsageOID

    return ExtendedKeyUsageOID.SERVER_AUTH


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_does_not_outlive_the_certificate(version, certificate, authority, monkeypatch):
    chain, key = certificate
    server = context(read(key, chain), clients=authority.file.read_bytes())
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode, client.maximum_version = False, ssl.CERT_NONE, version
    client.load_cert_chain(authority.issue("ada@example.com"))
    session = None
    for later, reused, addresses in ((0, False, ("ada@example.com",)), (0, True, ("ada@example.com",)), (2, True, ())):
        now = time.time() + later * 86400
        ours, theirs = shaken_hands(client, server, session)
        session = ours.session
        assert ours.session_reused == reused
        with monkeypatch.context() as patched:
            patched.setattr(tls.time, "time", lambda now=now: now)
            assert tls.channel(Extra(theirs), Peer("192.0.2.1", 5000, "192.0.2.2")).addresses == addresses


class Extra:
    """A transport that has nothing but its TLS."""

    def __init__(self, ssl_object):
        self.get_extra_info = {"ssl_object": ssl_object}.get


def shaken_hands(client, server, session):
    """Both ends of a TLS connection in memory, after the server has said something (TLS 1.3 brings tickets with it)."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, session=session)
    theirs = server.wrap_bio(up, down, server_side=True)
    for end in (ours, theirs) * 3:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    theirs.write(b"x")
    assert ours.read(1) == b"x"
    return ours, theirs


async def test_a_certificate_shown_to_a_proxy_is_none(house, certificate, authority):
    async with house(proxy_networks=(ipaddress.ip_network("127.0.0.0/8"),)) as h:
        asks(h, certificate, authority)
        shows(h, authority.issue("ada@example.com"))
        port = await h.listen(implicit_tls=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 993\r\n")
        await writer.start_tls(h.client_tls, server_hostname="localhost")
        greeting = await reader.readline()
        assert b"AUTH=PLAIN" in greeting and b"EXTERNAL" not in greeting
        writer.close()


async def test_pop3(house, certificate, authority):
    async with house(session=Pop3Session) as h:
        asks(h, certificate, authority)
        shows(h, authority.issue("ada@example.com"))
        port = await h.listen(implicit_tls=True)
        assert (await asyncio.to_thread(log_in_by_pop3, port, h.client_tls)).startswith(b"+OK")


async def test_submission(house, certificate, authority):
    async with house(session=lambda node, peer: SmtpSession(node, Role.SUBMISSION, peer)) as h:
        asks(h, certificate, authority)
        shows(h, authority.issue("ada@example.com"))
        port = await h.listen(implicit_tls=True)
        assert await asyncio.to_thread(submit_as_ada, port, h.client_tls) == 250


async def test_other_servers_are_not_asked(house, certificate, authority):
    async with house(session=lambda node, peer: SmtpSession(node, Role.SMTP, peer), enable_auth=True) as h:
        chain, key = certificate
        plain = context(read(key, chain))
        h.node.tls.replace(context(read(key, chain), clients=authority.file.read_bytes()), plain)
        assert plain.verify_mode is ssl.CERT_NONE
        shows(h, authority.issue("ada@example.com"))
        port = await h.listen()

        def talk():
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.starttls(context=h.client_tls)
                client.ehlo()
                return client.esmtp_features["auth"].split()

        assert await asyncio.to_thread(talk) == ["PLAIN", "LOGIN"]
