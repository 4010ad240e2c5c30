"""What all workers share and the supervisor keeps: listening sockets, the ledger, sockets for hints, and whatever the
application adds.

It is made once, before the first fork, and an upgrade hands it to the next program, open as it is.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from pillarbox import cores
from pillarbox.access.ledger import Ledger, Misfit
from pillarbox.config import Settings

from .certificates import KeyPair
from .hints import Sockets
from .inheritance import Estate
from .listeners import Listeners, wanted
from .privileges import RunAs
from .worker import Seat

log = structlog.get_logger()


class Shared(Protocol):
    """What an application shares among its workers: `descriptor` is what an upgrade hands on of it."""

    descriptor: int


class Commons:
    def __init__(
        self, listeners: Listeners, ledger: Ledger, hints: Sockets, shared: Shared | None, started_at: float
    ) -> None:
        self.listeners = listeners
        self.ledger = ledger
        self.hints = hints
        self.shared = shared
        self.started_at = started_at

    @classmethod
    def found(
        cls, listeners: Listeners, settings: Settings, workers: int, share: Callable[[int], Shared | None]
    ) -> Commons:
        """For a server that starts. `share` is called with -1."""
        ledger = make_ledger(settings, workers)
        return cls(listeners, ledger, Sockets(ledger.slots), share(-1), time.time())

    @classmethod
    def inherit(
        cls,
        estate: Estate,
        owner: tuple[int, int] | None,
        settings: Settings,
        workers: int,
        share: Callable[[int], Shared | None],
    ) -> Commons:
        """For a program that takes over. It has a ledger of its own if it cannot count in the one that is there."""
        listeners = Listeners(owner)
        listeners.inherit(estate.listeners)
        try:
            ledger = Ledger.adopt(estate.ledger)
            hints = Sockets.of(estate.hints)
        except Misfit as why:
            log.warning("The new workers count anew: the old program's ledger does not fit", reason=str(why))
            ledger = make_ledger(settings, workers)
            hints = Sockets(ledger.slots)  # they go by slots
        return cls(listeners, ledger, hints, share(estate.shared), estate.started_at)

    @property
    def estate(self) -> Estate:
        return Estate(
            listeners=self.listeners.entries(),
            ledger=self.ledger.descriptor,
            hints=self.hints.numbers(),
            shared=self.shared.descriptor if self.shared else -1,
            started_at=self.started_at,
        )

    def seat(
        self,
        slot: int,
        generation: int,
        index: int,
        size: int,
        settings: Settings,
        pair: KeyPair | None,
        user: RunAs | None,
        *,
        waits: bool,
    ) -> Seat:
        """What worker `index` of `size` gets, in its process. The listeners of others are closed here."""
        asked = set(wanted(settings))  # not the listeners that a reload takes away
        mine = [(address, sock) for address, sock in self.listeners.share(index, size) if address in asked]
        self._close_all_but([sock for _, sock in mine])
        return Seat(
            slot=slot,
            index=index,
            generation=generation,
            settings=settings,
            pem=pair.pem if pair else b"",
            clients=pair.clients if pair else b"",
            tickets=pair.tickets if pair else b"",
            ledger=self.ledger,
            hints=self.hints,
            sockets=mine,
            user=user,
            started_at=self.started_at,
            shared=self.shared,
            waits=waits,
        )

    def _close_all_but(self, served: Sequence[socket.socket]) -> None:
        kept = {id(sock) for sock in served}
        for listener in self.listeners.by_address.values():
            for sock in listener.sockets:
                if id(sock) not in kept:
                    sock.close()  # or they would outlive the supervisor's


def make_ledger(settings: Settings, workers: int) -> Ledger:
    """With room for three generations: one that is coming, the present one, and one that has sessions left."""
    return Ledger(3 * max(cores.usable(), workers) + 2, connection_entries=4 * settings.max_connections)
