"""A server on loopback with a real store, in the process of the test, and clients that speak raw IMAP to it.

    async with house(setting=value) as h:
        client = await h.login("INBOX")

Other protocols give the class of their `session`, and use `listen`, `put` and the rest.
"""

import asyncio
import re
import ssl
from contextlib import asynccontextmanager

import pytest

from empty_store import put_empty_store
from pillarbox.access.ledger import Ledger
from pillarbox.access.limits import Caps, Limiter
from pillarbox.access.passwords import HashGate
from pillarbox.config import Settings
from pillarbox.mime.analysis import analyse
from pillarbox.session.imap import ImapSession
from pillarbox.session.node import Node
from pillarbox.session.tls import TlsHolder
from pillarbox.store import blobs, directory, mailboxes, messages
from pillarbox.store.opening import open_store
from premises import Premises, at_once, premises
from self_signed import self_signed

ADA = "ada@example.com"
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")

MESSAGE = (
    b"From: Bob <bob@example.org>\r\nTo: ada@example.com\r\nSubject: Lunch\r\nDate: Mon, 7 Feb 2022 21:52:25 -0800\r\n"
    b"Message-ID: <1@example.org>\r\n\r\nHow about lunch?\r\n"
)


class Client:
    """Speaks raw IMAP. A response is bytes without its last CRLF, literals inside."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self._count = 0

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def response(self):
        """One response, with the literals in it."""
        whole = b""
        while True:
            line = await asyncio.wait_for(self.reader.readuntil(b"\n"), 10)
            whole += line
            literal = _LITERAL.search(line)
            if literal is None:
                return whole[:-2]
            whole += await asyncio.wait_for(self.reader.readexactly(int(literal[1])), 10)

    async def until(self, tag):
        """Responses up to the tagged one."""
        found = []
        while True:
            found.append(await self.response())
            if found[-1].startswith(tag + b" "):
                return found

    async def do(self, command, *literals):
        """Send a command, each `{}` in it a synchronizing literal; the untagged responses and the tagged one."""
        self._count += 1
        tag = b"t%d" % self._count
        if isinstance(command, str):
            command = command.encode()
        first, *rest = command.split(b"{}")
        line = tag + b" " + first
        for literal, after in zip(literals, rest, strict=True):
            await self.send(line + b"{%d}\r\n" % len(literal))
            reply = await self.response()
            if not reply.startswith(b"+"):
                return [], reply.partition(b" ")[2]
            line = literal + after
        await self.send(line + b"\r\n")
        *untagged, tagged = await self.until(tag)
        return [one.removeprefix(b"* ") for one in untagged], tagged.partition(b" ")[2]

    async def ok(self, command, *literals):
        """`do` that wants OK; the untagged responses."""
        untagged, tagged = await self.do(command, *literals)
        assert tagged.startswith(b"OK"), (command, tagged)
        return untagged

    async def done(self, command, *literals):
        """`do` that wants OK; the tagged response."""
        _, tagged = await self.do(command, *literals)
        assert tagged.startswith(b"OK"), (command, tagged)
        return tagged

    async def refused(self, command, *literals):
        """`do` that wants NO or BAD; the tagged response."""
        _, tagged = await self.do(command, *literals)
        assert not tagged.startswith(b"OK"), (command, tagged)
        return tagged

    async def ended(self):
        """True when the server has closed."""
        return await asyncio.wait_for(self.reader.read(), 10) == b""

    def close(self):
        self.writer.close()


class House(Premises):
    """A node with its store, and listeners made on demand."""

    def __init__(self, node, client_tls, session, database):
        super().__init__(node)
        self.client_tls, self.session, self.database = client_tls, session, database

    async def listen(self, *, implicit_tls=False, node=None):
        node = node or self.node
        return self.open_port(node, lambda peer: self.session(node, peer), implicit_tls=implicit_tls)

    async def connect(self, *, implicit_tls=True, node=None):
        """A connection; the greeting is still to be read."""
        port = await self.listen(implicit_tls=implicit_tls, node=node)
        options = {"ssl": self.client_tls, "server_hostname": "localhost"} if implicit_tls else {}
        client = Client(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22, **options))
        self.clients.append(client)
        return client

    async def login(self, mailbox=None, *, enable=None, user=ADA, node=None):
        """A client that has logged in over TLS, with a mailbox selected if it is named."""
        client = await self.connect(node=node)
        assert (await client.response()).startswith(b"* OK ")
        await client.ok(f"LOGIN {user} secret")
        if enable:
            await client.ok(f"ENABLE {enable}")
        if mailbox:
            await client.ok(f"SELECT {mailbox}")
        return client

    async def put(self, *contents, mailbox="INBOX", flags=0, keywords=(), date=None, user=ADA):
        """Append messages as somebody else would; their UIDs."""

        def write(tx):
            owner = directory.user(tx, user)
            box = mailboxes.find(tx, owner.id, mailbox)
            return [messages.append(tx, box.id, message, flags, keywords, date).uid for message in packed]

        packed = [
            messages.NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
            for content in contents or (MESSAGE,)
        ]
        return await self.node.store.write(write)

    async def second_node(self):
        """Another worker on the same database, with a store of its own."""
        store = await open_store(self.database)
        ledger = Ledger(2)
        node = Node.build(
            self.node.settings,
            store,
            ledger.attach(1),
            Limiter(ledger.attach(1), Caps()),
            HashGate(),
            tls=self.node.tls,
        )
        node.authenticator._sleep = at_once
        self.others.append(node)
        return node


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Paths of a self-made certificate and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def house(tmp_path, certificate, monkeypatch):
    """`async with house(setting=value) as h:`; the store is checked at the end. `database`: another place for it."""
    monkeypatch.setattr("pillarbox.access.passwords.needs_rehash", lambda _: False)  # cheap hashes stay cheap

    @asynccontextmanager
    async def build(
        *, users=(ADA, "bob@example.com"), tls=True, caps=None, session=ImapSession, database=None, **changes
    ):
        server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_tls.load_cert_chain(*certificate)
        client_tls = ssl.create_default_context(cafile=certificate[0])
        settings = Settings.of("development", db_path=str(tmp_path / "smtp.db"), hostname="mx.example.com", **changes)
        if database is None:
            database = settings.db_path
            put_empty_store(database)
        async with premises(
            lambda node: House(node, client_tls, session, database),
            settings,
            database,
            caps=caps or Caps(),
            tls=TlsHolder(server_tls if tls else None),
            users=users,
        ) as made:
            yield made

    return build
