"""Whether who answers is this very server: mail would go round in circles.

Sure is what the kernel says: the connection leads to an address of this machine, and a listener of ours has that port.
A name is not: behind a balancer several servers may have ours, and so may another program on this machine, such as one
for lists. With these it is the message that tells: `round_in_circles` counts how often it came through a server of our
name. The same ends a circle through a server of others, a smarthost that routes back to us, long before its hundredth
Received field would (RFC 5321 section 6.3). Only what goes on is looked at: what comes into a mailbox here has arrived.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Iterable

from pillarbox.mime.header import raw_values

from .outgoing_connect import is_loopback

MOST_PASSES = 4  # lists of one server within lists of another pass by each other a few times
MOST_RETURNS = 10  # of a message that goes to a server of another name: what comes back from lists and aliases there

Listener = tuple[str, int]  # an address and a port, or the path of a Unix socket and 0

_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_BY = re.compile(rb"[ \t)]by[ \t]+([^ \t;]+)", re.I)


def listeners_of(sockets: Iterable[socket.socket]) -> frozenset[Listener]:
    """Where these sockets are reached."""
    found: set[Listener] = set()
    for sock in sockets:
        name = sock.getsockname()
        if sock.family == socket.AF_UNIX:
            found.add((os.path.realpath(os.fsdecode(name)), 0))
            continue
        found.add((name[0], name[1]))
        both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if both and name[0] == "::":
            found.add(("0.0.0.0", name[1]))
    return frozenset(found)


def is_ourselves(sock: socket.socket, ip: str, port: int, listeners: Collection[Listener]) -> bool:
    """Whether the connection of `sock` to `ip`, or to the Unix socket of that path, ends in one of `listeners`."""
    if not listeners:
        return False
    if sock.family == socket.AF_UNIX:
        return (os.path.realpath(ip), 0) in listeners
    if (ip, port) not in listeners and (_ANY[sock.family], port) not in listeners:
        return False
    try:
        # Our end of a connection to an address of this machine is that address, but on loopback, where it may vary.
        return is_loopback(ip) or sock.getsockname()[0] == ip
    except OSError:
        return False


def round_in_circles(message: bytes, own: Collection[str], *, namesake: bool) -> int:
    """How often a message came through here, when that is so often that it must not go on to this server; else 0.

    `own`: our names, in lower case. `namesake`: the server has one of them.
    """
    most = MOST_PASSES if namesake else MOST_RETURNS
    if message.count(b"eceived") < most:  # nearly always
        return 0
    # A name that many machines have says nothing.
    ours = own if namesake else {name for name in own if "." in name and not name.startswith("localhost.")}
    count = passes(message, ours)
    return count if count >= most else 0


def passes(message: bytes, names: Collection[str]) -> int:
    """How many Received fields of a message are from servers of these names (lower case)."""
    count = 0
    for value in raw_values(message.partition(b"\r\n\r\n")[0] + b"\r\n", b"received"):
        by = _BY.search(b" " + value)
        count += by is not None and by[1].decode("latin-1").lower() in names
    return count
