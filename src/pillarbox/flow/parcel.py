"""What the queue gives to a connection and gets back: a message for one next hop, and what became of each recipient.

The scheduler asks a `Carrier` for a `Lane` to a `Hop` and sends one `Parcel` after the other through it. Neither side
knows the other: sockets are the carrier's, rows of the queue the scheduler's.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

Kind = Literal["mx", "smarthost", "lmtp", "backup", "local"]
Result = Literal["delivered", "deferred", "failed"]
Stage = Literal[
    "DNS",
    "CONNECT",
    "GREETING",
    "HELLO",
    "STARTTLS",
    "AUTH",
    "MAIL",
    "RCPT",
    "DATA",
    "END",
    "LOST",
    "TIMEOUT",
    "PROTOCOL",
    "POLICY",
]


class Hop(Struct, frozen=True):
    """Where a destination is and how to talk to it.

    `mx` and `backup` (an MX of `domain` ourselves: only hosts that are preferred to us) look up `domain`; `smarthost`
    and `lmtp` go to `host` and `port`, `lmtp` also to the Unix socket `socket`. `tls`: never, may (no check, in the
    clear when it fails), require (any certificate), verify (name and chain), implicit (from the first octet, verified).
    """

    name: str
    kind: Kind
    domain: str = ""
    host: str = ""
    port: int = 25
    socket: str = ""
    tls: str = "may"
    username: str = ""
    password: str = ""
    ehlo: str = ""
    source_ipv4: str = ""
    source_ipv6: str = ""

    @property
    def by_domain(self) -> bool:
        """Whether its hosts are those of the recipient's domain."""
        return self.kind in ("mx", "backup")


class ParcelRecipient(Struct, frozen=True, gc=False):
    """A row of the queue; `notify` ("NEVER" or "SUCCESS,FAILURE,DELAY" or less) and `orcpt` as RFC 3461 has them."""

    queue_id: int
    address: str
    notify: str = ""
    orcpt: str = ""


class Parcel(Struct, frozen=True):
    """One message for some recipients of one hop: `prefix` and the blob together are the octets to be sent.

    `size` is that of both together. `content` is what the blob holds, where that is at hand. `deliver_by` is a time in
    seconds since 1970, `deliver_mode` R or N, with T for a trace (RFC 2852).
    """

    message_key: str
    sender: str
    recipients: tuple[ParcelRecipient, ...]
    prefix: bytes
    blob_id: int
    size: int
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    priority: int = 0
    deliver_by: int | None = None
    deliver_mode: str = ""
    content: bytes | None = None


class Reply(Struct, frozen=True):
    """What decided: the words of a server, or ours for it when it said nothing (`stage` LOST, TIMEOUT, PROTOCOL ...).

    `code` and `enhanced` are always there, made up where the server gave none; `bare`: so is `enhanced`. `host` is the
    name it was looked up under, `address` ip:port or the path of a socket, `tls` version and cipher or "".
    """

    stage: Stage
    code: int
    enhanced: str
    text: str
    host: str = ""
    address: str = ""
    tls: str = ""
    bare: bool = False

    @property
    def words(self) -> str:
        """As the server said it."""
        return f"{self.code} {self.text}" if self.bare else f"{self.code} {self.enhanced} {self.text}"


class Outcome(Struct, frozen=True):
    """What became of one recipient. `dsn`: whoever has it now takes over the promise of reports. `in_time`: and that of
    DELIVERBY. `expanded`: it was an alias that leads to several."""

    queue_id: int
    result: Result
    reply: Reply
    dsn: bool = False
    in_time: bool = False
    expanded: bool = False


class HopDown(Exception):
    """No host of the hop would talk to us. `permanent`: none ever will (null MX, no such domain): the messages fail."""

    def __init__(self, reply: Reply, permanent: bool = False) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.reply = reply
        self.permanent = permanent


class Lane(Protocol):
    """A connection to one host of a hop; one parcel at a time."""

    @property
    def usable(self) -> bool:
        """Whether it may take another parcel."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the other server may have the content of the parcel at hand. Until then `send` can be cancelled as if
        it had never been called; the connection is lost then."""
        ...

    async def send(self, parcel: Parcel) -> list[Outcome]:
        """One outcome for each recipient, in their order. Raises nothing but CancelledError."""
        ...

    async def close(self) -> None:
        """Say QUIT when that is still possible, and leave. Does not wait long."""
        ...


class Carrier(Protocol):
    """Opens connections."""

    async def open(self, hop: Hop) -> Lane:
        """Connect, greet, and set up TLS and AUTH as the hop says. Raises HopDown."""
        ...
