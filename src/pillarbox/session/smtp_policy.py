"""What an SMTP client is offered in each role, and what it must do before it may send."""

from __future__ import annotations

from functools import lru_cache

from pillarbox.access.exchange import Channel, offered
from pillarbox.access.limits import Role, is_loopback
from pillarbox.config import Settings
from pillarbox.smtp.offer import Limits, Offer

from .node import Node
from .peer import Peer

MECHANISMS = ("PLAIN", "LOGIN")  # on port 25


def login_required(settings: Settings, role: Role) -> bool:
    """RFC 6409 section 4.3; on the port-25 role only when the operator said so."""
    if role is Role.SMTP:
        return settings.require_auth and settings.explicit("SMTP_REQUIRE_AUTH")
    return role is Role.SUBMISSION


def policy(settings: Settings, node: Node, role: Role, peer: Peer, channel: Channel) -> tuple[Limits, Offer]:
    """Limits and offer for a client as it is connected now."""
    submission = role is Role.SUBMISSION
    clear = submission and settings.cleartext_loopback and _is_here(peer)
    until = _hold_limit(settings, node.clock()) if submission else 0
    return _policy(settings, bool(node.tls), role, clear, offered(channel), until)


def _is_here(peer: Peer) -> bool:
    """Whether no octet of the connection leaves the machine."""
    return not peer.proxied and (not peer.address or is_loopback(peer.address))


@lru_cache(maxsize=64)
def _policy(
    settings: Settings, tls_ready: bool, role: Role, clear: bool, mechanisms: tuple[str, ...], hold_until: int
) -> tuple[Limits, Offer]:
    """Limits and offer of a role. AUTH is offered on submission, and elsewhere when it is enabled; only under TLS
    unless `clear`. `mechanisms`: those of submission on this connection. `hold_until`: see `_hold_limit`."""
    limits = Limits(message_size=settings.max_message_size, recipients=settings.max_recipients)
    if role is not Role.SUBMISSION:
        auth = MECHANISMS if settings.enable_auth and role is Role.SMTP else ()
        return limits, Offer(starttls=tls_ready, auth=auth, login_first=login_required(settings, role))
    return limits, Offer(
        login_first=True,
        starttls=tls_ready,
        auth=mechanisms,
        auth_in_clear=clear,
        deliver_by=True,
        hold_seconds=int(settings.future_release_max),  # a Duration is shown as 30d
        hold_until=hold_until,
        priority=True,
    )


def _hold_limit(settings: Settings, now: float) -> int:
    """Up to when a message may be held, in seconds since 1970; the same for a minute, so that policies are few."""
    return (int(now) + settings.future_release_max) // 60 * 60
