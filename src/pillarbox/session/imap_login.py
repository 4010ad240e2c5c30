"""LOGIN, AUTHENTICATE, ID, ENABLE: who is there and what the two sides can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox import __version__
from pillarbox.access import sasl
from pillarbox.access.authenticate import TemporaryFailure
from pillarbox.imap import responses
from pillarbox.imap.commands import Enable, Login
from pillarbox.imap.events import Authenticate, AuthResponse, Command
from pillarbox.session.imap_answers import Answer, Refuse, bad

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def login(session: ImapSession, command: Command) -> Answer:
    """Answer LOGIN (refused by the core without TLS)."""
    args = command.args
    assert isinstance(args, Login)
    return await _check(session, args.username, args.password)


async def authenticate(session: ImapSession, event: Authenticate | AuthResponse) -> Answer | None:
    """One step of AUTHENTICATE; None when a challenge was sent."""
    if isinstance(event, Authenticate):
        session.mechanism = sasl.mechanism_for(event.mechanism)
        response = event.initial
    else:
        if event.data is None:
            raise bad("The exchange was cancelled, or that was no base64")
        response = event.data
    if session.mechanism is None:
        raise Refuse("There is no such mechanism")
    match session.mechanism.step(response):
        case sasl.Challenge(data):
            session.core.challenge(data)
            return None
        case sasl.Credentials(username, password):
            session.mechanism = None
            return await _check(session, username, password)
        case sasl.Failure(reason, syntax):
            session.mechanism = None
            raise Refuse(reason, None if syntax else "AUTHENTICATIONFAILED", status="BAD" if syntax else "NO")


async def _check(session: ImapSession, username: str, password: str) -> Answer:
    try:
        identity = await session.node.authenticator.check(username, password, session.peer.address, "imap")
    except TemporaryFailure:
        raise Refuse("Passwords cannot be checked now, try again later", "UNAVAILABLE") from None
    if identity is None:
        raise Refuse("Wrong name or password", "AUTHENTICATIONFAILED")
    session.logged_in(identity)
    return Answer("logged in", session.core.capability_code())


async def identify(session: ImapSession, command: Command) -> Answer:
    """Answer ID with name and version (RFC 2971)."""
    session.core.untagged(responses.identification({"name": "Pillarbox", "version": __version__}))
    return Answer("ID completed")


async def enable(session: ImapSession, command: Command) -> Answer:
    """Answer ENABLE with what was turned on by it (RFC 9051 section 6.3.1)."""
    args = command.args
    assert isinstance(args, Enable)
    fresh = session.core.enable(args.names)
    session.core.untagged(" ".join(("ENABLED", *map(_spelt, fresh))).encode())
    return Answer("ENABLE completed")


def _spelt(name: str) -> str:
    return "IMAP4rev2" if name == "IMAP4REV2" else name


async def noop(session: ImapSession, command: Command) -> Answer:
    """NOOP and CHECK: what is new follows, as after every command."""
    return Answer(f"{command.name} completed")
