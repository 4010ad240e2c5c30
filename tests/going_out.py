"""What tests of outgoing connections share: a carrier that finds its peers, impatient, and messages to send."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pillarbox.flow.mail_hosts import MailHost
from pillarbox.flow.parcel import Hop, Outcome, Parcel, ParcelRecipient
from pillarbox.session.outgoing import Manner, OutgoingCarrier
from pillarbox.session.outgoing_self import Listener
from pillarbox.session.outgoing_timeouts import Timeouts

MESSAGE = b"Subject: x\r\n\r\nhello\r\n.a line with a dot\r\n"
PREFIX = b"Received: from here\r\n"

SHORT = Timeouts(
    connect=2, handshake=0.3, greeting=0.3, command=0.3, data=0.3, block=0.3, end=0.3, reset=0.3, quit=0.3,
    opening=5, envelope=3, stagger=0.05,
)  # fmt: skip


class Shelf:
    """In the place of a store: blobs by their numbers."""

    def __init__(self, **blobs: bytes) -> None:
        self.blobs = {1: MESSAGE, **{int(name[1:]): data for name, data in blobs.items()}}
        self.read_slices: list[int] = []

    async def read(self, fn: Any, blob_id: int, start: int, length: int) -> bytes:
        assert fn.__name__ == "read_slice"
        data = self.blobs[blob_id][start : start + length]
        self.read_slices.append(len(data))
        return data


def hop(port: int, **changes: Any) -> Hop:
    given: dict[str, Any] = {"name": "mx example.org", "kind": "mx", "domain": "example.org", "port": port}
    return Hop(**(given | changes))


def parcel(*recipients: str, content: bytes = MESSAGE, blob: int = 1, **changes: Any) -> Parcel:
    to = recipients or ("a@example.org", "b@example.org")
    given: dict[str, Any] = {
        "message_key": "key",
        "sender": "s@here.example",
        "recipients": tuple(ParcelRecipient(100 + n, address) for n, address in enumerate(to)),
        "prefix": PREFIX,
        "blob_id": blob,
        "size": len(PREFIX) + len(content),
    }
    return Parcel(**(given | changes))


def carrier(
    *hosts: MailHost,
    store: Any = None,
    timeouts: Timeouts = SHORT,
    clock: Callable[[], float] | None = None,
    authorities: Path | None = None,
    name: str = "here.example",
    listeners: frozenset[Listener] = frozenset(),
) -> OutgoingCarrier:
    """Of hosts that are looked up so; without any, mx.example.org on loopback."""
    found = list(hosts or (MailHost("mx.example.org", 10, ("127.0.0.1",)),))

    async def lookup(hop: Hop) -> list[MailHost]:
        return found

    manner = Manner(name, "1.2", authorities, timeouts, listeners)
    options = {"clock": clock} if clock is not None else {}
    return OutgoingCarrier(store or Shelf(), lookup, lambda: manner, **options)


def told(outcomes: list[Outcome]) -> list[tuple[str, str, int]]:
    """Result, stage and code of each."""
    return [(outcome.result, outcome.reply.stage, outcome.reply.code) for outcome in outcomes]
