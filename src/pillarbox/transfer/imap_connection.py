"""A connection to somebody's IMAP server: the client core on a socket, with TLS, a login and deadlines."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable

import msgspec

from pillarbox.imap.client import Broken, Completed, Continuation, Greeting, ImapClientCore, Status, Untagged
from pillarbox.transfer.found import LARGEST

PATIENCE = 180.0  # seconds without an octet of the server
_READ = 256 << 10

TLS = ("implicit", "starttls", "none")


class Server(msgspec.Struct, frozen=True):
    """Where and as whom. `authorize`: the account that `login`, a master user there, reads."""

    host: str
    port: int
    login: str
    password: str
    tls: str = "implicit"
    authorize: str = ""
    ca_file: str = ""
    verify: bool = True

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port})"  # the password stays out of tracebacks

    @property
    def source(self) -> str:
        """Its name in the record of what was taken in."""
        return f"imap://{self.authorize or self.login}@{self.host.lower()}:{self.port}"


class Lost(Exception):
    """The connection broke; another one may do better."""


class Refused(Exception):
    """The server says no, or speaks no IMAP; the text is for the user."""


class ImapConnection:
    """One session. A command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._core = ImapClientCore(max_literal=LARGEST)
        self.capabilities: frozenset[str] = frozenset()

    @classmethod
    async def open(cls, server: Server) -> ImapConnection:
        """Connected and logged in. Raises Lost, Refused."""
        context = _context(server)
        try:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection(
                    server.host, server.port, ssl=context if server.tls == "implicit" else None
                )
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"the certificate of {server.host} is not trusted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise Refused(f"no TLS with {server.host}:{server.port}: {error.reason}") from error
        except (OSError, TimeoutError) as error:
            raise Lost(f"no connection to {server.host}:{server.port}: {error or 'timeout'}") from error
        connection = cls(reader, writer)
        try:
            await connection._begin(server, context)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _begin(self, server: Server, context: ssl.SSLContext) -> None:
        greeting = await self._event()
        if not isinstance(greeting, Greeting) or greeting.status.kind not in ("OK", "PREAUTH"):
            raise Refused(f"{server.host} does not greet: {_said(greeting)}")
        await self._ask_capabilities()
        if server.tls == "starttls":
            if "STARTTLS" not in self.capabilities:
                raise Refused(f"{server.host} offers no STARTTLS")
            await self.command("STARTTLS")
            if self._core.forget_input():
                raise Refused(f"{server.host} sent something before TLS that was to come after it")
            try:
                await self._writer.start_tls(context, server_hostname=server.host)
            except ssl.SSLCertVerificationError as error:
                raise Refused(f"the certificate of {server.host} is not trusted: {error.verify_message}") from error
            except (ssl.SSLError, OSError) as error:
                raise Refused(f"no TLS with {server.host}: {error}") from error
            await self._ask_capabilities()
        if greeting.status.kind != "PREAUTH":
            await self._log_in(server)
            await self._ask_capabilities()

    async def _log_in(self, server: Server) -> None:
        if "AUTH=PLAIN" in self.capabilities or server.authorize:
            secret = f"{server.authorize}\0{server.login}\0{server.password}".encode()
            if "SASL-IR" in self.capabilities:
                await self.command("AUTHENTICATE", b"PLAIN " + base64.b64encode(secret))
            else:
                await self.command("AUTHENTICATE", b"PLAIN", response=secret)
        elif "LOGINDISABLED" in self.capabilities:
            raise Refused(f"{server.host} takes no password here; use TLS")
        else:
            await self.command("LOGIN", b"{} {}", server.login.encode(), server.password.encode())

    async def _ask_capabilities(self) -> None:
        found: set[str] = set()
        for one in await self.command("CAPABILITY"):
            if one.name == "CAPABILITY":
                found |= {value.decode("ascii", "replace").upper() for value in one.values if isinstance(value, bytes)}
        self.capabilities = frozenset(found)

    async def command(
        self,
        name: str,
        arguments: bytes = b"",
        *literals: bytes,
        response: bytes | None = None,
        each: Callable[[Untagged], None] | None = None,
    ) -> list[Untagged]:
        """The untagged responses to a command, or with `each` none: they go there one by one.

        `response` answers a challenge. Raises Lost; Refused when it ends in NO or BAD.
        """
        tag = self._core.command(name, arguments, *literals)
        found: list[Untagged] = []
        while True:
            event = await self._event()
            if isinstance(event, Untagged):
                if event.name == "BYE" and name != "LOGOUT":
                    raise Lost(f"the server says goodbye: {_said(event)}")
                if each is not None:
                    each(event)
                else:
                    found.append(event)
            elif isinstance(event, Continuation):
                self._core.respond(response or b"")
                response = None
            elif isinstance(event, Completed) and event.tag == tag:
                if event.status.kind != "OK":
                    raise Refused(f"{name}: {event.status.text or event.status.kind}")
                return found
            elif isinstance(event, Broken):
                raise Refused(f"the server speaks no IMAP: {event.reason}")

    async def close(self) -> None:
        """LOGOUT, as far as the server still listens."""
        try:
            async with asyncio.timeout(5):
                await self.command("LOGOUT")
        except (Lost, Refused, TimeoutError):
            pass
        self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _event(self) -> Greeting | Untagged | Continuation | Completed | Broken:
        while True:
            event = self._core.next_event()
            if data := self._core.output():
                self._writer.write(data)
            if event is not None:
                return event
            try:
                async with asyncio.timeout(PATIENCE):
                    data = await self._reader.read(_READ)
            except (OSError, TimeoutError) as error:
                raise Lost(f"the connection broke: {error or 'timeout'}") from error
            if not data:
                raise Lost("the server closed the connection")
            self._core.receive(data)


def _context(server: Server) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=server.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"{server.ca_file} is no file of certificates: {error}") from error
    if not server.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _said(event: object) -> str:
    status: Status | None = getattr(event, "status", None)
    return status.text if status is not None else "nothing that is IMAP"
