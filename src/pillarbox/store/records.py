"""What store functions take and give: plain immutable records.

Times are seconds since 1970, sizes octets. `size` of a message is prefix plus blob, what RFC822.SIZE says.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

from pillarbox.store.queue_records import (
    Destination,
    Event,
    ListRow,
    QueueCounts,
    Queued,
    QueuedMessage,
    QueueFilter,
    QueueRow,
    RouteRow,
    RouteRule,
    SenderGrant,
    Token,
    Unrouted,
    Usage,
    Warm,
)

if TYPE_CHECKING:
    from pillarbox.mime.analysis import Analysis

__all__ = [
    "Alias",
    "Appended",
    "BanRow",
    "Changes",
    "Copied",
    "DeletedMailbox",
    "Delivery",
    "Destination",
    "Domain",
    "Event",
    "Expunged",
    "Flagged",
    "Gone",
    "ListRow",
    "Mailbox",
    "MessageRow",
    "NewMessage",
    "Outcome",
    "QueueCounts",
    "QueueFilter",
    "QueueRow",
    "Queued",
    "QueuedMessage",
    "Rendered",
    "Resolution",
    "RouteRow",
    "RouteRule",
    "SenderGrant",
    "StoredFlags",
    "Token",
    "Unrouted",
    "Usage",
    "User",
    "View",
    "Warm",
]


class NewMessage(msgspec.Struct, frozen=True, gc=False):
    """A message to be stored: small ones packed by `blobs.pack`, large ones as a blob begun before.

    Exactly one of `packed` and `blob_id` is given. The blob of `blob_id` is finished here if it is not yet.
    """

    packed: bytes | None
    blob_id: int | None
    analysis: Analysis


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """Put it into a mailbox. `recipient` only comes back in the outcome. A mailbox that is gone becomes INBOX."""

    recipient: str
    user_id: int
    mailbox: str = "INBOX"
    flags: int = 0
    keywords: tuple[str, ...] = ()
    prefix: bytes = b""
    internal_date: int | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one plan: `error` is None, "over quota", "larger than the quota" or "no such user".

    `claimed`: the row, where it went into the queue as somebody's claim.
    """

    recipient: str
    mailbox_id: int | None = None
    uid: int | None = None
    uidvalidity: int | None = None
    queue_id: int | None = None
    error: str | None = None
    claimed: QueuedMessage | None = None


class Appended(msgspec.Struct, frozen=True, gc=False):
    uid: int
    uidvalidity: int
    modseq: int


class Mailbox(msgspec.Struct, frozen=True, gc=False):
    """A row of `mailboxes`. Counts are exact at the moment of the read.

    `history_from`: of expunges with a greater modification number every one is remembered.
    """

    id: int
    user_id: int
    name: str
    uidvalidity: int
    uidnext: int
    highestmodseq: int
    history_from: int
    subscribed: bool
    special_use: str | None
    first_recent_uid: int
    message_count: int
    unseen_count: int
    deleted_count: int
    total_size: int
    created_at: int


class View(msgspec.Struct):
    """The messages of a mailbox, as columns in uid order, for a session to hold.

    `ids` are row ids for `rendered`, never given to another message. `keywords` has a uid only where there are any.
    """

    mailbox: Mailbox
    uids: array[int]  # 'I'
    flags: array[int]  # 'B', bits of flags.py
    modseqs: array[int]  # 'q'
    sizes: array[int]  # 'q'
    dates: array[int]  # 'q' internal date
    ids: array[int]  # 'q'
    save_dates: array[int]  # 'q' (RFC 8514)
    keywords: dict[int, tuple[str, ...]]


class MessageRow(msgspec.Struct, frozen=True, gc=False):
    """One message as a view has it."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    modseq: int
    size: int
    internal_date: int
    save_date: int
    id: int


Flagged = tuple[int, int, tuple[str, ...], int]  # uid, flags, keywords, modseq


class Changes(msgspec.Struct, frozen=True):
    """What happened after a modification number. `vanished` None: the history is too short, open the view again."""

    mailbox: Mailbox
    new: list[MessageRow]
    changed: list[Flagged]
    vanished: list[int] | None


class StoredFlags(msgspec.Struct, frozen=True):
    """`before` is HIGHESTMODSEQ before the change, `modseq` that of the change or the same where nothing changed;
    `refused` failed UNCHANGEDSINCE.

    `changed` has only the messages whose flags are different now.
    """

    before: int
    modseq: int
    changed: list[Flagged]
    refused: list[int]


class Expunged(msgspec.Struct, frozen=True):
    """`before` is HIGHESTMODSEQ before the expunge, `modseq` that of the expunge or the same when there was nothing."""

    uids: list[int]
    before: int
    modseq: int


class Gone(msgspec.Struct, frozen=True, gc=False):
    """An expunged message that can be brought back. `mailbox`: where it was; `moved`: it is in another one now."""

    id: int
    mailbox_id: int
    mailbox: str
    uid: int
    expunged_at: int
    moved: bool
    flags: int
    internal_date: int
    size: int
    subject: str
    message_id: str


class DeletedMailbox(msgspec.Struct, frozen=True, gc=False):
    """A mailbox that can be brought back with its messages."""

    id: int
    name: str
    deleted_at: int
    created_at: int
    message_count: int
    total_size: int


class Copied(msgspec.Struct, frozen=True):
    """`uids` pairs of (source, new) in source order. `modseq`: the source mailbox's after a MOVE, else the target's."""

    uidvalidity: int
    uids: list[tuple[int, int]]
    modseq: int


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """What was computed once at delivery. Offsets and `header_size` are of the blob: add the prefix."""

    id: int
    blob_id: int
    prefix: bytes
    size: int
    header_size: int = 0
    sent_at: int | None = None
    sent_zone: int = 0
    message_id: str = ""
    subject: str = ""
    base_subject: str = ""
    preview: str = ""
    envelope: bytes = b""
    bodystructure: bytes = b""
    body: bytes = b""
    parts: bytes = b""


class User(msgspec.Struct, frozen=True, gc=False):
    """A row of `users`. Quotas in octets, messages and mailboxes, 0 is no limit. `credentials_version` grows when old
    logins must end.

    `sending_held_at`: since when this account may send nothing, None when it may; see `senders.hold`.
    """

    id: int
    username: str
    email: str
    enabled: bool
    role: str
    password_hash: str
    scram_sha256: str
    credentials_version: int
    quota_limit: int
    quota_used: int
    created_at: int
    updated_at: int
    last_login: int | None
    modseq: int
    sending_held_at: int | None = None
    sending_held_reason: str = ""
    quota_messages: int = 0
    quota_mailboxes: int = 0


class Domain(msgspec.Struct, frozen=True, gc=False):
    """A row of `domains`; `catch_all` is an address or None."""

    id: int
    name: str
    enabled: bool
    catch_all: str | None
    created_at: int


class Alias(msgspec.Struct, frozen=True, gc=False):
    id: int
    address: str
    target: str
    created_at: int


class BanRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `bans`: an address or network that may not log in; `offences`: how often that happened."""

    network: str
    reason: str
    offences: int
    created_at: int
    expires_at: int


class Resolution(msgspec.Struct, frozen=True):
    """Where mail for an address goes. Nobody in `users`, `forward` and `lists` (ids, addresses): `reason` says why.

    `local_domain` False: the address is not ours. `reason`: "", "unknown user", "disabled", "alias loop" or
    "not local".
    """

    local_domain: bool
    users: list[tuple[int, str]]
    forward: list[str]
    reason: str = ""
    lists: list[tuple[int, str]] = []
