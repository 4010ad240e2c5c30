"""A server on loopback with a real store, and clients that speak raw bytes to it."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import pytest
import uvloop

from empty_store import put_empty_store
from pillarbox.access.limits import Caps, Role
from pillarbox.config import Settings
from pillarbox.session.smtp import SmtpSession
from pillarbox.session.tls import TlsHolder
from pillarbox.store import blobs
from premises import Premises, premises
from self_signed import self_signed


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


class House(Premises):
    """A node with its store, and listeners made on demand."""

    def __init__(self, node, path):
        super().__init__(node)
        self.path = path

    async def listen(self, role=Role.SMTP, *, implicit_tls=False):
        return self.open_port(self.node, lambda peer: SmtpSession(self.node, role, peer), implicit_tls=implicit_tls)

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
        async with premises(
            lambda node: House(node, path),
            settings,
            str(path),
            caps=caps or Caps(settings.max_connections, settings.connections_per_ip),
            tls=TlsHolder(tls),
            users=users,
            trust_loopback=settings.trust_loopback,
        ) as made:
            yield made

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
