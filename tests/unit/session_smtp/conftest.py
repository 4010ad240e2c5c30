"""A server on loopback with a real store, and clients that speak raw bytes to it."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
import uvloop
from argon2 import PasswordHasher

from empty_store import put_empty_store
from house import at_once
from pillarbox.access.ledger import Ledger
from pillarbox.access.limits import Caps, Limiter, Role
from pillarbox.access.passwords import HashGate
from pillarbox.config import Settings
from pillarbox.session.acceptor import Acceptor
from pillarbox.session.entrance import entrance
from pillarbox.session.node import Node
from pillarbox.session.smtp import SmtpSession
from pillarbox.session.tls import TlsHolder
from pillarbox.store import blobs, directory
from pillarbox.store.opening import open_store
from self_signed import self_signed
from waiting import until

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def pytest_asyncio_loop_factories(config, item):
    """Every conversation on the loop that the server runs on, and on the plain one, whose transports differ."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Client:
    """Sends what it is told and reads replies, one string a reply (lines joined with a newline)."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self):
        lines = []
        while True:
            line = await asyncio.wait_for(self.reader.readline(), 10)
            if not line.endswith(b"\r\n"):
                raise ConnectionResetError(f"the server closed after {lines} {line!r}")
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def say(self, *lines):
        """Send lines in one write; the reply to the last one."""
        await self.send(b"".join(line.encode() + b"\r\n" for line in lines))
        replies = [await self.reply() for _ in lines]
        return replies[-1]

    async def transaction(self, sender, *recipients):
        await self.say(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients))
        return await self.say("DATA")

    async def message(self, sender, recipient, body=b"Subject: x\r\n\r\nhello\r\n"):
        assert (await self.transaction(sender, recipient)).startswith("354")
        await self.send(body + b".\r\n")
        return await self.reply()

    async def ended(self):
        """True when the server has closed."""
        return await asyncio.wait_for(self.reader.read(), 10) == b""

    async def starttls(self, context):
        assert (await self.say("STARTTLS")).startswith("220")
        await self.writer.start_tls(context)

    def close(self):
        self.writer.close()


class House:
    """A node with its store, and listeners made on demand."""

    def __init__(self, node, path):
        self.node, self.path = node, path
        self.servers, self.clients = [], []

    async def listen(self, role=Role.SMTP, *, implicit_tls=False):
        welcome = entrance(self.node, lambda peer: SmtpSession(self.node, role, peer), implicit_tls=implicit_tls)
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.servers += [Acceptor(listening, welcome), listening]
        return listening.getsockname()[1]

    async def connect(self, role=Role.SMTP, *, port=None, **options):
        port = port or await self.listen(role)
        return self.adopt(*await asyncio.open_connection("127.0.0.1", port, **options))

    def adopt(self, reader, writer):
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def greeted(self, role=Role.SMTP, name="client.example.org"):
        client = await self.connect(role)
        assert (await client.reply()).startswith("220 ")
        await client.say(("LHLO " if role is Role.LMTP else "EHLO ") + name)
        return client

    async def add_user(self, address, password="secret", **options):
        return await self.node.store.write(directory.create_user, address, address, CHEAP.hash(password), **options)

    async def write(self, fn, *args, **kw):
        return await self.node.store.write(fn, *args, **kw)

    async def rows(self, sql, *params):
        return await self.node.store.scan(lambda tx: tx.rows(sql, params))

    async def mail(self, address):
        """Whole messages of an account, prefix and all, in the order of their uids."""
        rows = await self.rows(
            "SELECT m.prefix, m.blob_id, b.size FROM messages m JOIN mailboxes x ON x.id = m.mailbox_id "
            "JOIN users u ON u.id = x.user_id JOIN blobs b ON b.id = m.blob_id WHERE u.username = ? ORDER BY uid",
            address,
        )
        return [prefix + await self.node.store.read(blobs.read_slice, blob, 0, size) for prefix, blob, size in rows]

    async def queue(self):
        return await self.rows("SELECT from_address, to_address, prefix, blob_id FROM message_queue ORDER BY id")


@pytest.fixture
def house(tmp_path):
    """`async with house(setting=value) as h:`; the store is checked at the end."""

    @asynccontextmanager
    async def build(*, caps=None, users=("ada@example.com", "bob@example.com"), tls=None, **changes):
        path = tmp_path / "smtp.db"
        changes.setdefault("hostname", "mx.example.com")
        settings = Settings.of("development", db_path=str(path), **changes)
        put_empty_store(path)
        store = await open_store(path)
        slot = Ledger(2).attach(1)
        limiter = Limiter(
            slot,
            caps or Caps(settings.max_connections, settings.connections_per_ip),
            trust_loopback=settings.trust_loopback,
        )
        node = Node.build(settings, store, slot, limiter, HashGate(), tls=TlsHolder(tls))
        node.authenticator._sleep = at_once
        made = House(node, path)
        for address in users:
            await made.add_user(address)
        try:
            yield made
        finally:
            for client in made.clients:
                client.close()
            for server in made.servers:
                server.close()
            await until(lambda: not node.sessions, "the end of all connections")
            assert node.memory.used == 0, "a spool was not closed"
            assert await store.check() == []
            node.close()
            await store.close()

    return build


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Paths of a self-made certificate and its key for localhost."""
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def server_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def client_tls(certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    context.check_hostname = False
    return context
