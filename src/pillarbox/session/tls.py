"""TLS on a connection: the context of the moment, and the upgrade of a transport."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

from pillarbox.access.channel_binding import END_POINT, UNIQUE
from pillarbox.access.client_certificate import addresses, has_ended
from pillarbox.access.exchange import NO_CHANNEL, Channel
from pillarbox.store.client_certificates import fingerprint_of

from .peer import Peer

HANDSHAKE = 30.0  # seconds
GOODBYE = 5.0  # seconds that a peer has to answer our close_notify


class ServerContext(ssl.SSLContext):
    """A server's context that knows the binding of its certificate (`channel_binding.server_end_point`), the
    fingerprints of the registered certificates of clients, and beside these the authorities (DER) whose certificates
    lead to the addresses in them; None: every certificate that TLS believes does."""

    end_point: bytes = b""
    registered: frozenset[str] = frozenset()
    authorities: frozenset[bytes] | None = None


class TlsHolder:
    """The contexts for new handshakes. A reload replaces them; connections keep the one that they began with.

    `context` is for mail programs. `exchanger` is for other servers, on the port-25 role: it may speak an older TLS,
    since the alternative there is no TLS at all.
    """

    __slots__ = ("_exchanger", "context")

    def __init__(self, context: ssl.SSLContext | None = None, exchanger: ssl.SSLContext | None = None) -> None:
        self.context = context
        self._exchanger = exchanger

    @property
    def exchanger(self) -> ssl.SSLContext | None:
        return self._exchanger or self.context

    def replace(self, context: ssl.SSLContext | None, exchanger: ssl.SSLContext | None) -> None:
        self.context, self._exchanger = context, exchanger

    def __bool__(self) -> bool:
        return self.context is not None


async def upgrade(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    *,
    patience: float = HANDSHAKE,
) -> asyncio.Transport:
    """Do the handshake as the server and return the transport to write to from now on.

    Before: reading is paused, the last plain reply was written, and whatever the core had buffered was dropped. Until
    this returns nothing is written. `protocol.connection_made` is not called again. Raises OSError (ssl.SSLError is
    one), and closes the transport, when the handshake fails or takes longer than `patience` seconds.
    """
    try:
        secured = await asyncio.get_running_loop().start_tls(
            transport, protocol, context, server_side=True, ssl_handshake_timeout=patience, ssl_shutdown_timeout=GOODBYE
        )
    except BaseException:
        transport.abort()
        raise
    if secured is None:  # the peer went away during the handshake
        raise ConnectionResetError("the connection ended during the TLS handshake")
    return secured


def described(transport: asyncio.BaseTransport) -> tuple[str, str] | None:
    """Version and cipher of the connection, such as ("TLSv1.3", "TLS_AES_256_GCM_SHA384"); None without TLS."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    cipher = tls.cipher()
    return tls.version() or "", cipher[0] if cipher else ""


def channel(transport: asyncio.BaseTransport, peer: Peer) -> Channel:
    """What the TLS of this connection is good for at a login; nothing without TLS.

    Nothing either for clients of a proxy: their TLS may have ended there, with another certificate.
    """
    tls = transport.get_extra_info("ssl_object")
    if tls is None or peer.proxied:
        return NO_CHANNEL
    if not tls.context.verify_mode:
        return Channel(_bindings(tls))
    certificate, now = tls.getpeercert(), time.time()  # only one that was verified is told (`CERT_OPTIONAL`)
    if has_ended(certificate, now):
        return Channel(_bindings(tls))
    found = addresses(certificate, now) if _is_vouched_for(tls) else ()
    return Channel(_bindings(tls), found, _registered(tls))


def _registered(tls: ssl.SSLObject) -> str:
    """The fingerprint of the client's certificate if it is a registered one."""
    known = tls.context.registered if isinstance(tls.context, ServerContext) else frozenset()
    der = tls.getpeercert(binary_form=True) if known else None
    fingerprint = fingerprint_of(der) if der else ""
    return fingerprint if fingerprint in known else ""


def _is_vouched_for(tls: ssl.SSLObject) -> bool:
    """Whether an authority that issues certificates for accounts is behind the client's, and no registered certificate,
    of which the owner may sign what he likes."""
    context = tls.context
    if not isinstance(context, ServerContext) or context.authorities is None:
        return True
    chain: Any = tls if hasattr(tls, "get_verified_chain") else tls._sslobj  # type: ignore[attr-defined]
    verified = chain.get_verified_chain()  # nothing after a session was resumed
    if not verified:
        return False
    last = verified[-1]
    return (last if isinstance(last, bytes) else ssl.PEM_cert_to_DER_cert(last.public_bytes())) in context.authorities


def _bindings(tls: ssl.SSLObject) -> dict[str, bytes]:
    """What SCRAM-SHA-256-PLUS may be bound to, by type (RFC 5929).

    tls-unique is not defined for TLS 1.3, and tls-exporter (RFC 9266), which is, is out of reach of Python's ssl. In a
    resumed session it is no proof: who is in the middle can make it the same on both sides (RFC 7627 section 1).
    """
    found: dict[str, bytes] = {}
    context = tls.context
    if isinstance(context, ServerContext) and context.end_point:
        found[END_POINT] = context.end_point
    unique = tls.get_channel_binding(UNIQUE) if tls.version() == "TLSv1.2" and not tls.session_reused else None
    if unique:
        found[UNIQUE] = unique
    return found
