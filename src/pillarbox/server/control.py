"""What supervisor and worker say to each other, on a socket pair made for each worker before the fork.

Down go orders, which carry settings and keys; up goes a state. The supervisor may be root and a worker is not, so what
comes up is only ever parsed as a state and a text. After an upgrade the two may be of different versions: both sides
pass over what they do not know.
"""

from __future__ import annotations

import os
import pickle
import socket
from contextlib import suppress
from typing import Literal

import msgspec

from pillarbox.config import Settings

_ROOM = 1 << 20  # octets of the largest order


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Go on with the settings in here and this certificate (PEM, b"" for none), in this log file. `clients`: PEM of
    the authorities of clients' certificates. `tickets`: the secret of `session_tickets`.

    Only for workers that run the same program as the supervisor.
    """

    pickled: bytes
    pem: bytes
    log_file: int = -1  # in the worker, the descriptor that came along
    clients: bytes = b""
    tickets: bytes = b""

    @classmethod
    def of(cls, settings: Settings, pem: bytes, clients: bytes = b"", tickets: bytes = b"") -> Reload:
        return cls(pickle.dumps(settings), pem, clients=clients, tickets=tickets)

    @property
    def settings(self) -> Settings:
        found: Settings = pickle.loads(self.pickled)  # noqa: S301  # from our own supervisor, who is no less than we are
        return found


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Take connections from now on: all workers of this generation are ready."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take no connection any more and end: within `patience` seconds; `now`: idle clients are sent away at once."""

    patience: float
    now: bool


Order = Reload | Begin | Drain


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What a worker tells: `ready`, or `failed` with the reason it cannot be, or how many it had `left` to cut."""

    state: Literal["ready", "failed", "left"]
    text: str = ""
    count: int = 0


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end and the worker's end."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _ROOM)
    return ends


def order(end: socket.socket, what: Order, log_file: int = -1) -> bool:
    """Send an order down; False when the worker is gone or does not listen."""
    data = msgspec.msgpack.encode(what)
    try:
        socket.send_fds(end, [data], [log_file] if log_file >= 0 else [])
    except OSError:
        return False
    return True


def receive_order(end: socket.socket) -> Order | None:
    """The next order that we know, None when the supervisor is gone. Raises BlockingIOError when there is none."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(end, _ROOM, 1)
        if not data:
            return None
        try:
            what: Order = msgspec.msgpack.decode(data, type=Order)
        except msgspec.DecodeError:  # of another version
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        if isinstance(what, Reload) and descriptors:
            return msgspec.structs.replace(what, log_file=descriptors[0])
        return what


def report(end: socket.socket, what: Report) -> None:
    """Tell the supervisor; silently nothing when it is gone."""
    with suppress(OSError):
        end.send(msgspec.msgpack.encode(what))


def receive_report(end: socket.socket) -> Report | None:
    """The next state, None when there is none now or what came is no report."""
    try:
        data = end.recv(65536)
        return msgspec.msgpack.decode(data, type=Report) if data else None
    except (OSError, msgspec.DecodeError):
        return None
