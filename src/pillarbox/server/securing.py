"""The TLS of one worker: the contexts for new handshakes, made of what a reload brings and of the certificates of
clients that are registered in the store."""

from __future__ import annotations

import asyncio
from functools import partial

from pillarbox.config import Settings
from pillarbox.session.tls import TlsHolder
from pillarbox.store import Store, client_certificates

from . import certificates


class Securing:
    """`holder` has what is in force. Nothing is until `apply`.

    Contexts are made in a thread: many certificates take a tenth of a second.
    """

    def __init__(self) -> None:
        self.holder = TlsHolder()
        self._making = asyncio.Lock()
        self._settings: Settings
        self._pem = self._clients = self._tickets = b""
        self._registered: tuple[bytes, ...] = ()

    async def apply(self, settings: Settings, pem: bytes, clients: bytes, tickets: bytes = b"") -> None:
        """Put a certificate in force for the next handshakes. `tickets`: see `session_tickets`. Raises
        CertificateError."""
        async with self._making:
            self._settings, self._pem, self._clients, self._tickets = settings, pem, clients, tickets
            await self._make()

    async def look(self, store: Store) -> None:
        """Certificates of clients may have come or gone. Raises StoreError, CertificateError."""
        async with self._making:
            found = await store.scan(client_certificates.believed)
            if found != self._registered:
                self._registered = found
                await self._make()

    async def _make(self) -> None:
        """Other servers are not asked for a certificate."""
        if not self._pem:
            self.holder.replace(None, None)
            return
        settings, make = self._settings, partial(certificates.context, self._pem, tickets=self._tickets)
        exchanger = make(settings.exchanger_tls_min_version)
        ours = await asyncio.to_thread(make, settings.tls_min_version, self._clients, self._registered)
        self.holder.replace(ours, exchanger)
