"""The beginning of a conversation with another server: greeting, EHLO, TLS as the hop says, AUTH."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Collection

import structlog

from pillarbox.flow.parcel import Hop, Reply, Stage
from pillarbox.smtp import login
from pillarbox.smtp.client_events import Authenticated, Challenge, Connected, Event, Failed, Introduced, UpgradeTls

from .outgoing_connect import is_loopback
from .outgoing_connection import Connection, Ended, described
from .outgoing_tls import CHECKED, MANDATORY, server_name

log = structlog.get_logger()

MAX_CHALLENGES = 10
_NO_SUCH_MECHANISM = (504, "5.5.4")


class Trouble(Exception):
    """This host will not do. `final`: another one will not either. `ours`: it is this server itself. `clear`: it may do
    without TLS."""

    def __init__(self, reply: Reply, *, final: bool = False, ours: bool = False, clear: bool = False) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.final = final
        self.ours = ours
        self.clear = clear


async def converse(
    connection: Connection, hop: Hop, context: ssl.SSLContext | None, own: Collection[str], until: float
) -> None:
    """Everything up to the first MAIL. `context` None: no TLS, whatever the host offers. `own`: our names, in lower
    case. Raises Trouble."""
    encrypting = False
    try:
        if hop.tls == "implicit" and context is not None:
            await _secure(connection, hop, context)
        await _expect(connection, until, Connected)
        hello = await _hello(connection, hop, own, until)
        encrypting = context is not None and not connection.tls and "STARTTLS" in hello.extensions
        if encrypting and context is not None and await _starttls(connection, hop, context, until):
            await _hello(connection, hop, own, until)
        if hop.tls in MANDATORY and not connection.tls:
            raise Trouble(connection.said("STARTTLS", 451, "4.7.4", f"TLS is required and {connection.host} has none"))
        encrypting = False
        if hop.username:
            await _authenticate(connection, hop, until)
    except Ended as ended:
        # Some servers end only after what is for us a handshake that went well.
        raise Trouble(connection.reply(ended.stage, ended.answer), clear=encrypting and hop.tls == "may") from None


async def _hello(connection: Connection, hop: Hop, own: Collection[str], until: float) -> Introduced:
    connection.core.hello()
    hello = await _expect(connection, until, Introduced)
    assert isinstance(hello, Introduced)
    connection.own, connection.namesake = frozenset(own), hello.name.lower() in own
    if hop.by_domain and connection.namesake:
        text = f"mail for {hop.domain} loops back: {connection.host} greets with our own name"
        raise Trouble(connection.said("POLICY", 554, "5.4.6", text), ours=True)
    return hello


async def _expect(connection: Connection, until: float, kind: type[Event]) -> Event:
    event = await connection.event(until)
    if not isinstance(event, kind):
        raise Trouble(_refusal(connection, event))
    return event


def _refusal(connection: Connection, event: Event | None) -> Reply:
    if isinstance(event, Failed):
        return connection.reply(event.stage, event.answer)
    return connection.said("PROTOCOL", 451, "4.5.0", "the server answered something else than what it was asked")


async def _starttls(connection: Connection, hop: Hop, context: ssl.SSLContext, until: float) -> bool:
    """Whether TLS is up; false when the server does not want it now and the policy can do without."""
    connection.core.starttls()
    event = await connection.event(until)
    if isinstance(event, UpgradeTls):
        await _secure(connection, hop, context)
        return True
    if hop.tls == "may" and isinstance(event, Failed) and not connection.core.closed:
        return False  # RFC 3207 section 4
    raise Trouble(_refusal(connection, event), clear=hop.tls == "may")


async def _secure(connection: Connection, hop: Hop, context: ssl.SSLContext) -> None:
    name = server_name(connection.host, connection.ip)
    try:
        if name is None and hop.tls in CHECKED:
            raise ValueError("it has no name that a certificate could be for")
        await connection.secure(context, name)
    except (OSError, ValueError) as error:
        text = f"TLS with {connection.host} failed: {described(error)}"
        reply = connection.said("STARTTLS", 451, "4.7.5", text)
        raise Trouble(reply, clear=hop.tls == "may") from None


async def _authenticate(connection: Connection, hop: Hop, until: float) -> None:
    """Log in, with the best mechanism first; another one only where the server knows not that."""
    if not connection.tls and not (hop.tls == "never" and is_loopback(connection.ip)):
        text = f"{connection.host} wants a password without TLS: it is not sent in the clear"
        raise _put_off(connection, "POLICY", "4.7.11", text)
    refused: set[str] = set()
    while True:
        offered = connection.core.extensions.get("AUTH", "").split()
        mechanism = login.choose(offered, hop.username, hop.password, secrets.token_urlsafe(24), refused)
        if mechanism is None:
            text = f"{connection.host} offers no way to log in that we know (it offers {' '.join(offered) or 'none'})"
            raise _put_off(connection, "AUTH", "4.7.4", text)
        connection.core.auth(mechanism.name, mechanism.initial())
        event = await _exchange(connection, mechanism, until)
        if isinstance(event, Authenticated):
            if mechanism.complete:
                return
            raise _put_off(connection, "AUTH", "4.7.8", f"{connection.host} did not prove that it knows the password")
        if not isinstance(event, Failed):
            raise Trouble(_refusal(connection, event))
        answer = event.answer
        if event.stage == "AUTH" and (answer.code, answer.enhanced or "5.5.4") == _NO_SUCH_MECHANISM:
            refused.add(mechanism.name)
            continue
        log.warning("The login at another server failed", host=connection.host, reply=f"{answer.code} {answer.text}")
        # A wrong password is for the operator to mend: the mail waits. No other address is tried with it.
        raise Trouble(connection.reply(event.stage, answer), final=not answer.temporary)


async def _exchange(connection: Connection, mechanism: login.Mechanism, until: float) -> Event | None:
    """The event that ends the exchange."""
    for _ in range(MAX_CHALLENGES):
        event = await connection.event(until)
        if not isinstance(event, Challenge):
            return event
        if mechanism.slow:
            response = await asyncio.to_thread(mechanism.respond, event.data)
        else:
            response = mechanism.respond(event.data)
        connection.core.respond(response)
    return None


def _put_off(connection: Connection, stage: Stage, enhanced: str, text: str) -> Trouble:
    return Trouble(connection.said(stage, 451, enhanced, text), final=True)
