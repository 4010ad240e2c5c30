"""Whether a client is let in: not while the server goes down, not over a limit, not from an address that is banned.

Who is let in has a seat, to be given back by `Limiter.leave`.
"""

from __future__ import annotations

import structlog

from pillarbox.access import bans
from pillarbox.access.limits import Admission, Role
from pillarbox.smtp.replies import Reply

from . import smtp_replies as say
from .node import Node
from .peer import Peer

log = structlog.get_logger()


def smtp_refusal(node: Node, role: Role, peer: Peer) -> Reply | None:
    """What an SMTP client is told in the place of a greeting; None: it has a seat."""
    if node.draining:
        return say.SHUTTING_DOWN
    if node.maintenance:
        return say.MAINTENANCE
    admission = node.limiter.enter(peer.address, role)
    if not admission:
        if admission is Admission.SERVER_FULL:
            log.warning(f"Max connections ({node.settings.max_connections}) reached, rejecting new connection")
            return say.SERVER_FULL
        log.warning("Too many connections from one address, rejecting new connection", peer=str(peer))
        return say.ADDRESS_FULL
    if role is Role.SUBMISSION and (ban := node.bans.of(peer.address)) is not None:
        node.limiter.leave(peer.address, role)
        log.info("Connection refused: banned", peer=str(peer))
        return Reply(421, "4.7.0", bans.told(ban))  # port 25 takes its mail, and no login
    return None


def mailbox_refusal(node: Node, role: Role, peer: Peer) -> str | None:
    """What an IMAP or POP3 client is told in the place of a greeting; None: it has a seat."""
    if node.draining:
        return "The server is going down"
    admission = node.limiter.enter(peer.address, role)
    if not admission:
        log.warning("%s connection refused: %s", role.name, admission.value, peer=str(peer))
        full = admission is Admission.SERVER_FULL
        return "Too many connections" if full else "Too many connections from your address"
    if (ban := node.bans.of(peer.address)) is not None:
        node.limiter.leave(peer.address, role)
        log.info("%s connection refused: banned", role.name, peer=str(peer))
        return bans.told(ban)
    return None
