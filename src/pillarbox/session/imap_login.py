"""LOGIN, AUTHENTICATE, ID, ENABLE: who is there and what the two sides can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox import __version__
from pillarbox.access import sasl
from pillarbox.access.authenticate import Identity, TemporaryFailure
from pillarbox.access.exchange import Exchange
from pillarbox.imap import responses
from pillarbox.imap.commands import Enable, Languages, Login
from pillarbox.imap.events import Authenticate, AuthResponse, Command
from pillarbox.imap.language import SUPPORTED, look_up
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
        session.exchange = Exchange(
            session.node.authenticator,
            event.mechanism,
            session.core.offer.auth,
            session.channel,
            peer=session.peer.address,
            protocol="imap",
        )
        response = event.initial
    else:
        if event.data is None:
            raise bad("The exchange was cancelled, or that was no base64")
        response = event.data
    assert session.exchange is not None
    try:
        outcome = await session.exchange.step(response)
    except TemporaryFailure:
        raise _temporary() from None
    if isinstance(outcome, sasl.Challenge):
        session.core.challenge(outcome.data)
        return None
    session.exchange = None
    if isinstance(outcome, sasl.Failure):
        if outcome.syntax:
            raise bad(outcome.reason)
        raise Refuse(outcome.reason, "AUTHENTICATIONFAILED")
    return _logged_in(session, outcome)


async def _check(session: ImapSession, username: str, password: str) -> Answer:
    try:
        identity = await session.node.authenticator.check(username, password, session.peer.address, "imap")
    except TemporaryFailure:
        raise _temporary() from None
    if identity is None:
        raise Refuse("Wrong name or password", "AUTHENTICATIONFAILED")
    return _logged_in(session, identity)


async def language(session: ImapSession, command: Command) -> Answer:
    """Answer LANGUAGE (RFC 5255 section 3.2): which languages there are, or which one was chosen. All texts are English
    in either, so there is nothing to remember."""
    args = command.args
    assert isinstance(args, Languages)
    found = look_up(args.ranges) if args.ranges else None
    if args.ranges and found is None:
        raise Refuse("None of these languages is spoken here; LANGUAGE alone tells which are")
    session.core.untagged(responses.languages(SUPPORTED if found is None else (found,)))
    return Answer("LANGUAGE completed")


async def unauthenticate(session: ImapSession, command: Command) -> Answer:
    """Answer UNAUTHENTICATE (RFC 8437): another account may log in on this connection."""
    if not session.core.offer.unauthenticate:
        raise bad("UNAUTHENTICATE is turned off on this server")
    session.logged_out()
    session.switch_compression = session.compression is not None  # only TLS stays
    return Answer("UNAUTHENTICATE completed", session.core.capability_code())


def _temporary() -> Refuse:
    return Refuse("Passwords cannot be checked now, try again later", "UNAVAILABLE")


def _logged_in(session: ImapSession, identity: Identity) -> Answer:
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


async def compress(session: ImapSession, command: Command) -> Answer:
    """Answer COMPRESS DEFLATE (RFC 4978): it begins after the OK."""
    if session.compression is not None:
        raise Refuse("DEFLATE is on already", "COMPRESSIONACTIVE")
    session.switch_compression = True
    return Answer("DEFLATE begins now")


async def noop(session: ImapSession, command: Command) -> Answer:
    """NOOP and CHECK: what is new follows, as after every command."""
    return Answer(f"{command.name} completed")
