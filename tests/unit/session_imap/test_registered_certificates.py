"""EXTERNAL with certificates that are registered for an account: self-signed, signed by one, ended, taken back."""

import asyncio
import base64
import ssl

import pytest

from client_certificates import Authority, der_of, log_in_by_pop3, submit_as_ada
from pillarbox.access import authenticate
from pillarbox.access.limits import Role
from pillarbox.server.certificates import context, read
from pillarbox.session.pop3 import Pop3Session
from pillarbox.session.smtp import SmtpSession
from pillarbox.store import client_certificates, directory

END = 1 << 40


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def own(tmp_path):
    """Somebody's own: an authority of which the certificate is shown as a client's, as `openssl req -x509` makes it."""
    return Authority(tmp_path, "Own")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(authenticate, "FAILURE", 0.0)


async def register(h, certificate, file, name="ada@example.com", clients=b""):
    """As `pillarbox certificate add`, and what the worker makes of it."""
    user = await h.node.store.read(directory.user, name)
    made = await h.node.store.write(client_certificates.add, user.id, der_of(file), END, "phone")
    await believe(h, certificate, clients)
    return made


async def believe(h, certificate, clients=b""):
    chain, key = certificate
    found = await h.node.store.scan(client_certificates.believed)
    h.node.tls.replace(context(read(key, chain), clients=clients, registered=found), None)


def shows(h, file):
    h.client_tls = ssl.create_default_context()
    h.client_tls.check_hostname, h.client_tls.verify_mode = False, ssl.CERT_NONE
    h.client_tls.load_cert_chain(file)


async def refused_handshake(h):
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        c = await h.connect()
        await c.response()


async def test_a_self_signed_certificate_logs_in_until_it_is_removed(house, certificate, own):
    async with house() as h:
        shows(h, own.itself())
        made = await register(h, certificate, own.itself())
        c = await h.connect()
        assert b"AUTH=EXTERNAL AUTH=SCRAM-SHA-256-PLUS " in await c.response()
        await c.ok("AUTHENTICATE EXTERNAL =")
        await c.ok("UNAUTHENTICATE")
        bob = base64.b64encode(b"bob@example.com").decode()
        assert b"AUTHENTICATIONFAILED" in await c.refused(f"AUTHENTICATE EXTERNAL {bob}")
        ada = base64.b64encode(b"ada@example.com").decode()
        await c.ok(f"AUTHENTICATE EXTERNAL {ada}")
        await c.ok("SELECT INBOX")
        await h.node.logins.check()
        await c.ok("NOOP")
        await h.node.store.write(client_certificates.remove, made.id)
        await h.node.logins.check()
        assert b"* BYE" in await c.response()
        c = await h.connect()  # TLS knows it as long as nobody has looked
        assert b"AUTHENTICATIONFAILED" in await c.refused("AUTHENTICATE EXTERNAL =")
        await believe(h, certificate)
        shows(h, own.itself())
        c = await h.connect()
        assert b"EXTERNAL" not in await c.response()  # nobody is asked for one any more


async def test_who_signs_with_a_registered_certificate_is_not_believed(house, certificate, authority, own):
    clients = authority.file.read_bytes()
    async with house() as h:
        await register(h, certificate, own.itself(), clients=clients)
        shows(h, own.issue("bob@example.com"))  # his own authority says that he is bob
        c = await h.connect()
        assert b"EXTERNAL" not in await c.response()
        assert (await c.refused("AUTHENTICATE EXTERNAL =")).startswith(b"NO the mechanisms are")
        # The true authority is believed beside it, also for one that is registered.
        bobs = authority.issue("bob@example.com")
        shows(h, bobs)
        c = await h.connect()
        await c.ok("AUTHENTICATE EXTERNAL =")
        assert [one.username for one in h.node.sessions if one.identity is not None] == ["bob@example.com"]
        await register(h, certificate, bobs, "ada@example.com", clients)
        shows(h, bobs)
        c = await h.connect()
        bob = base64.b64encode(b"bob@example.com").decode()
        assert b"AUTHENTICATIONFAILED" in await c.refused(f"AUTHENTICATE EXTERNAL {bob}")  # it is ada's now
        await c.ok("AUTHENTICATE EXTERNAL =")


async def test_no_authority_means_no_addresses(house, certificate, own):
    async with house() as h:
        await register(h, certificate, own.itself())
        shows(h, own.issue("bob@example.com"))
        c = await h.connect()
        assert b"EXTERNAL" not in await c.response()


async def test_others_and_ended_ones_are_not_believed(house, certificate, authority, own):
    ended = authority.issue("ada@example.com", ended=True)
    async with house() as h:
        await register(h, certificate, ended)
        for file in (ended, own.itself()):
            shows(h, file)
            await refused_handshake(h)
        # One whose issuer nobody knows will do.
        leaf = own.issue()
        await register(h, certificate, leaf)
        shows(h, leaf)
        c = await h.connect()
        await c.ok("AUTHENTICATE EXTERNAL =")


async def test_what_is_no_certificate_harms_nobody(house, certificate, own):
    async with house() as h:
        user = await h.node.store.read(directory.user, "bob@example.com")
        await h.node.store.write(client_certificates.add, user.id, b"nonsense", END)
        await register(h, certificate, own.itself())
        shows(h, own.itself())
        c = await h.connect()
        await c.ok("AUTHENTICATE EXTERNAL =")


async def test_a_disabled_account(house, certificate, own):
    async with house() as h:
        await register(h, certificate, own.itself())
        await h.node.store.write(directory.set_enabled, "ada@example.com", False)
        shows(h, own.itself())
        c = await h.connect()
        assert b"AUTHENTICATIONFAILED" in await c.refused("AUTHENTICATE EXTERNAL =")


async def test_pop3(house, certificate, own):
    async with house(session=Pop3Session) as h:
        await register(h, certificate, own.itself())
        shows(h, own.itself())
        port = await h.listen(implicit_tls=True)
        assert (await asyncio.to_thread(log_in_by_pop3, port, h.client_tls)).startswith(b"+OK")


async def test_submission(house, certificate, own):
    async with house(session=lambda node, peer: SmtpSession(node, Role.SUBMISSION, peer)) as h:
        await register(h, certificate, own.itself())
        shows(h, own.itself())
        port = await h.listen(implicit_tls=True)
        assert await asyncio.to_thread(submit_as_ada, port, h.client_tls) == 250
