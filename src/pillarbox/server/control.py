"""What supervisor and worker say to each other, on a socket pair made for each worker before the fork.

Down go orders, which carry settings and keys; up goes a state. The supervisor may be root and a worker is not, so what
comes up is only ever parsed as a state and a text.
"""

from __future__ import annotations

import pickle
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec

from pillarbox.config import Settings

_ROOM = 1 << 20  # octets of the largest order


@dataclass(frozen=True, slots=True)
class Reload:
    """Go on with these settings and this certificate (PEM, b"" for none). A descriptor of the log file may follow."""

    settings: Settings
    pem: bytes
    log_file: int = -1  # in the worker, the descriptor that came along


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no connection any more and end: within `patience` seconds; `now`: idle clients are sent away at once."""

    patience: float
    now: bool


Order = Reload | Drain


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
    data = pickle.dumps(what)
    try:
        socket.send_fds(end, [data], [log_file] if log_file >= 0 else [])
    except OSError:
        return False
    return True


def receive_order(end: socket.socket) -> Order | None:
    """The next order, None when the supervisor is gone. Raises BlockingIOError when there is none."""
    data, descriptors, _, _ = socket.recv_fds(end, _ROOM, 1)
    if not data:
        return None
    what: Order = pickle.loads(data)  # noqa: S301  # from our own supervisor, who is no less than we are
    if isinstance(what, Reload) and descriptors:
        return Reload(what.settings, what.pem, descriptors[0])
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
