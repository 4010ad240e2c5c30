"""An SMTP conversation in the debug log: no passwords, no content."""

from __future__ import annotations

import structlog

from pillarbox.smtp.events import Auth, AuthResponse, Content, ContentEnd, Event, Hello, Mail, Rcpt

from .peer import Peer

log = structlog.get_logger()


def heard(peer: Peer, event: Event) -> None:
    """What the client said."""
    log.debug("SMTP [%s] -> %s", peer, _shown(event))


def said(peer: Peer, out: bytes) -> None:
    """What we said."""
    for line in out.decode().splitlines():
        log.debug("SMTP [%s] <- %s", peer, line)


def _shown(event: Event) -> str:
    match event:
        case Hello():
            return f"{'EHLO' if event.esmtp else 'HELO'} {event.name}"
        case Mail():
            return f"MAIL FROM:<{event.sender.raw}>"
        case Rcpt():
            return f"RCPT TO:<{event.recipient.raw}>"
        case Auth():
            return f"AUTH {event.mechanism}"
        case AuthResponse():
            return "(a response)"
        case Content():
            return f"({len(event.data)} octets)"
        case ContentEnd():
            return "(the end of the content)"
        case _:
            return type(event).__name__.upper()
