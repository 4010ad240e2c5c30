"""Which mailbox entries and queue rows a message becomes, before the store is asked.

One for each account and each address elsewhere, however many recipients lead there. Members of lists are added within
the transaction (`deliver`), since there may be thousands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pillarbox.store.records import Delivery, NewMessage, Queued

from . import mailing_list
from .delivered_to import Passed, trace
from .destination import LOCAL
from .route import Forward, Route

MAIL_LOOP = "mail loop"
_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")


class Recipient(NamedTuple):
    """A recipient that was accepted."""

    address: str
    route: Route
    notify: frozenset[str] = frozenset()  # RFC 3461 section 4.1
    orcpt: str = ""


class Envelope(NamedTuple):
    """What the session knows of the message. `sender` is "" for the null path.

    From `ret` on it is what the sender asked of whoever carries the message further, and goes into the queue with it.
    `user_id` is the account that submitted it; `held` keeps every queue row until it is released.
    """

    message_id: str
    sender: str
    recipients: tuple[Recipient, ...]
    trace: bytes  # the Received field, with its CRLF
    arrived: float  # epoch seconds
    hostname: str
    envid: str = ""
    reports: bool = True  # LMTP: the client is told of every recipient and reports itself
    ret: str = ""  # "FULL" or "HDRS", RFC 3461 section 4.3
    body: str = ""  # "7BIT", "8BITMIME" or "BINARYMIME"
    smtputf8: bool = False
    user_id: int | None = None
    priority: int = 0  # RFC 6710
    not_before: int | None = None  # epoch seconds, RFC 4865
    deliver_by: int | None = None  # epoch seconds, RFC 2852
    deliver_mode: str = ""  # "R" or "N", with T for a trace
    held: bool = False


class Plans(NamedTuple):
    """`plans`, and the indexes into them of each recipient; `posts` (recipient's index, list id); `refused` why by
    recipient's index."""

    plans: list[Delivery | Queued]
    of_recipient: list[list[int]]
    posts: list[tuple[int, int]]
    refused: dict[int, str]


def plan(envelope: Envelope, message: NewMessage, head: bytes = b"", refused: Mapping[int, str] | None = None) -> Plans:
    """One plan for each account and each address elsewhere, the first recipient that leads there naming it.

    `head` is the message's beginning: an alias or list that has sent it on before refuses it. `refused` recipients get
    nothing.
    """
    plans: list[Delivery | Queued] = []
    known: dict[int | str, int] = {}
    of_recipient: list[list[int]] = []
    posts: list[tuple[int, int]] = []
    refused = dict(refused or {}) | _loops(envelope, head)
    return_path = f"Return-Path: <{envelope.sender}>\r\n".encode()
    received = received_of(envelope, message)
    for index, recipient in enumerate(envelope.recipients):
        mine: list[int] = []
        of_recipient.append(mine)
        if index in refused:
            continue
        route = recipient.route
        if envelope.not_before is not None and (route.users or route.lists):
            mine.append(len(plans))  # all of it then, whoever is behind the address by then
            plans.append(_queued(envelope, recipient, Forward(recipient.address), received, LOCAL))
            continue
        for user_id, _ in route.users:
            at = known.get(user_id)
            if at is None:
                at = known[user_id] = len(plans)
                prefix = return_path + trace(recipient.address) + received
                plans.append(Delivery(recipient=recipient.address, user_id=user_id, prefix=prefix))
            mine.append(at)
        for forward in route.forward:
            at = known.get(forward.address)
            if at is None:
                at = known[forward.address] = len(plans)
                plans.append(_queued(envelope, recipient, forward, received))
            mine.append(at)
        posts += [(index, list_id) for list_id, _ in route.lists]
    return Plans(plans, of_recipient, posts, refused)


def received_of(envelope: Envelope, message: NewMessage) -> bytes:
    """The trace in front of the message. One without a header section is all text: an empty line keeps our fields from
    becoming its header."""
    return envelope.trace if message.analysis.header_size else envelope.trace + b"\r\n"


def _loops(envelope: Envelope, head: bytes) -> dict[int, str]:
    """Recipients that have sent this message on before."""
    passed: Passed | None = None
    found = {}
    for index, recipient in enumerate(envelope.recipients):
        route = recipient.route
        if not route.lists and not any(forward.via for forward in route.forward):
            continue
        passed = passed or Passed(head)
        if any(passed.through_list(address, mailing_list.list_id_of(address)) for _, address in route.lists) or any(
            passed.through(forward.via) for forward in route.forward
        ):
            found[index] = MAIL_LOOP
    return found


def _queued(
    envelope: Envelope, recipient: Recipient, forward: Forward, received: bytes, destination: str = ""
) -> Queued:
    notify, orcpt, prefix = recipient.notify, recipient.orcpt, received
    if forward.via:
        prefix = trace(forward.via) + received
        # RFC 3461 section 5.2.1: what the next server reports should name the address that the sender wrote.
        orcpt = orcpt or f"{'rfc822' if recipient.address.isascii() else 'utf-8'};{recipient.address}"
        if is_expanded(recipient.route):  # section 5.2.7.3: SUCCESS is answered here, and once
            notify = notify - {"SUCCESS"} or notify & {"NEVER"} or (frozenset({"NEVER"}) if notify else notify)
    return Queued(
        sender=envelope.sender,
        recipient=forward.address,
        prefix=prefix,
        priority=envelope.priority,
        message_key=envelope.message_id,
        user_id=envelope.user_id,
        via=forward.via,
        notify=",".join(word for word in _NOTIFY if word in notify),
        orcpt=orcpt,
        ret=envelope.ret,
        envid=envelope.envid,
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        deliver_by=envelope.deliver_by,
        deliver_mode=envelope.deliver_mode,
        not_before=envelope.not_before,
        held=envelope.held,
        destination=destination,
    )


def is_expanded(route: Route) -> bool:
    """Whether one recipient becomes several, some of them elsewhere."""
    return any(forward.via for forward in route.forward) and (
        len(route.forward) + len(route.users) + len(route.lists) > 1
    )
