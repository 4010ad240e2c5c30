"""Records of the way out: what goes into the queue, what is claimed from it, and where it can go.

Times are seconds since 1970 unless said otherwise, sizes octets.
"""

from __future__ import annotations

import msgspec


class Queued(msgspec.Struct, frozen=True, gc=False):
    """Put it into the queue for `recipient`, an address elsewhere.

    `destination` is the name of the next hop ("mx example.org", "route 3"), or "" to be routed later. `via`: the
    address of ours that led here. `not_before`: when it may be tried first. `held`: it waits for an operator.
    """

    sender: str
    recipient: str
    prefix: bytes = b""
    priority: int = 0
    destination: str = ""
    route_id: int | None = None
    message_key: str = ""
    user_id: int | None = None
    via: str = ""
    notify: str = ""
    orcpt: str = ""
    ret: str = ""
    envid: str = ""
    body: str = ""
    smtputf8: bool = False
    deliver_by: int | None = None
    deliver_mode: str = ""
    not_before: int | None = None
    held: bool = False


class QueueCounts(msgspec.Struct, frozen=True):
    """Rows of the queue by their status; `failed` are the dead letters."""

    total: int
    pending: int
    processing: int
    retry: int
    failed: int
    held: int = 0


class QueueRow(msgspec.Struct, frozen=True):
    """A row of `message_queue` without its bytes. `destination` is a name, "" where it is to be routed yet."""

    id: int
    from_address: str
    to_address: str
    status: str
    priority: int
    attempts: int
    max_retries: int
    next_retry_at: int | None
    created_at: int
    updated_at: int
    last_error: str | None
    size: int
    message_key: str = ""
    destination: str = ""
    route_id: int | None = None
    user_id: int | None = None
    via: str = ""
    blob_id: int | None = None
    claimed_by: str = ""
    last_host: str = ""
    expires_at: int | None = None
    not_before: int | None = None


class Unrouted(msgspec.Struct, frozen=True, gc=False):
    """A row that waits for a destination. `route_id`: the route an operator moved it to."""

    id: int
    sender: str
    recipient: str
    route_id: int | None


class QueuedMessage(msgspec.Struct, frozen=True, gc=False):
    """A claimed row: what a sender needs of it. `size` is prefix plus blob. `created_at`: when it was accepted.

    `expires_at` is only set where somebody asked for another end than the queue's own; see `queue.bounce`. With a
    `wish` (see `queue_wishes`) it is not to be sent any more.
    """

    id: int
    message_key: str
    sender: str
    recipient: str
    prefix: bytes
    blob_id: int
    size: int
    priority: int
    attempts: int
    created_at: int
    expires_at: int | None
    route_id: int | None
    user_id: int | None
    via: str
    notify: str
    orcpt: str
    ret: str
    envid: str
    body: str
    smtputf8: bool
    deliver_by: int | None
    deliver_mode: str
    delay_reported_at: int | None
    last_error: str | None
    wish: str = ""


class Warm(msgspec.Struct, frozen=True):
    """Destinations, by name, for which a sender of this process takes rows from the hand of whoever accepts them.

    They go into the queue as the claim of `holder` for `lease` seconds. `leased` has the ids of those that it has;
    those in `shared` are leased by another, which has to see first to what is due there.
    """

    holder: str
    lease: int
    leased: dict[str, int]
    shared: frozenset[str] = frozenset()


class Destination(msgspec.Struct, frozen=True, gc=False):
    """A next hop with rows in the queue. `due_at` is never later than its first row, but may be earlier.

    `concurrency`, `failures`, `blocked_until` and `last_error` are what a holder learnt and left (0: nothing yet).
    """

    id: int
    name: str
    due_at: int | None
    holder: str
    held_until: int
    failures: int
    concurrency: int
    blocked_until: int | None
    last_error: str


class QueueFilter(msgspec.Struct, frozen=True):
    """Which rows an operator means: all that is given must hold; nothing given is every row.

    `sender` "" is the null sender; addresses and domains compare without case. `older_than`: accepted before that
    time. `destination` is its name.
    """

    ids: tuple[int, ...] | None = None
    status: str | None = None
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    destination: str | None = None
    user_id: int | None = None
    older_than: int | None = None
    message_key: str | None = None


class RouteRow(msgspec.Struct, frozen=True):
    """A row of `routes`: a next hop that an operator named. `concurrency` 0: learnt."""

    id: int
    name: str
    kind: str
    host: str
    port: int
    tls: str
    username: str
    password: str
    ehlo_name: str
    source_ipv4: str
    source_ipv6: str
    concurrency: int
    created_at: int
    updated_at: int


class RouteRule(msgspec.Struct, frozen=True, gc=False):
    """`pattern` (address, domain, .parent or *) of `scope` "recipient" or "sender" takes the route.

    `accept`: strangers may send to that domain through us.
    """

    id: int
    scope: str
    pattern: str
    route_id: int
    accept: bool
    created_at: int


class ListRow(msgspec.Struct, frozen=True):
    """A distribution list. `posting`: who may send to it, "anyone", "members" or "owner"."""

    id: int
    address: str
    title: str
    owner: str
    posting: str
    created_at: int


class SenderGrant(msgspec.Struct, frozen=True, gc=False):
    """An account may send as `address`, or with "@domain" as anybody in it."""

    id: int
    user_id: int
    address: str


class Token(msgspec.Struct, frozen=True):
    """A bearer token of an account; `token_hash` is the SHA-256 of it in hexadecimal."""

    id: int
    user_id: int
    name: str
    token_hash: str
    scope: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None


class Usage(msgspec.Struct, frozen=True):
    """What an account sent in this hour of the clock and in the 24 that end with it."""

    hour_messages: int = 0
    hour_recipients: int = 0
    hour_new: int = 0
    day_messages: int = 0
    day_recipients: int = 0
    day_new: int = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One sentence of a message's story. `at` in milliseconds, `detail` JSON text; `id` 0 before it is stored."""

    at: int
    message_key: str
    kind: str
    sender: str = ""
    recipient: str = ""
    queue_id: int | None = None
    detail: str = ""
    id: int = 0
