"""The last step of receiving: a whole message and its recipients become mailbox entries and queue rows, in one commit.

A message is stored once for an account however many of its recipients lead there. When some of the accounts cannot
take it after all, the others have it, and the report to the sender is made in the same commit, so that a crash loses
neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery
from pillarbox.store.records import Delivery, NewMessage, Outcome, Queued
from pillarbox.store.tx import Tx

from . import report
from .report import Reported, Told
from .route import Route, find

_STATUS = {"over quota": "5.2.2", "no such user": "5.1.1"}
_REASON = {"over quota": "the mailbox is full", "no such user": "the mailbox does not exist any more"}


class Recipient(NamedTuple):
    """A recipient that was accepted. `local` and `domain` route a report when it is the sender of one."""

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
    sender_local: str
    sender_domain: str  # in the form that compares
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


class Result(NamedTuple):
    """`errors` by recipient: None when at least one of its mailboxes or queue rows was made, else the store's word."""

    errors: tuple[str | None, ...]
    delivered: int  # mailbox entries
    queued: int  # queue rows, reports not counted
    dropped_reports: int  # failures that nobody can be told: null sender, or NOTIFY=NEVER


class Plans(NamedTuple):
    plans: list[Delivery | Queued]
    of_recipient: list[list[int]]  # indexes into plans


def plan(envelope: Envelope, message: NewMessage) -> Plans:
    """One plan for each account and each address elsewhere, the first recipient that leads there naming it."""
    plans: list[Delivery | Queued] = []
    known: dict[int | str, int] = {}
    of_recipient: list[list[int]] = []
    return_path = f"Return-Path: <{envelope.sender}>\r\n".encode()
    # A message without a header section is all text: an empty line keeps our fields from becoming its header.
    trace = envelope.trace if message.analysis.header_size else envelope.trace + b"\r\n"
    for recipient in envelope.recipients:
        mine: list[int] = []
        for user_id, _ in recipient.route.users:
            at = known.get(user_id)
            if at is None:
                at = known[user_id] = len(plans)
                prefix = b"%sDelivered-To: %s\r\n%s" % (return_path, recipient.address.encode(), trace)
                plans.append(Delivery(recipient=recipient.address, user_id=user_id, prefix=prefix))
            mine.append(at)
        for address in recipient.route.forward:
            at = known.get(address)
            if at is None:
                at = known[address] = len(plans)
                plans.append(Queued(sender=envelope.sender, recipient=address, prefix=trace))
            mine.append(at)
        of_recipient.append(mine)
    return Plans(plans, of_recipient)


def deliver(tx: Tx, envelope: Envelope, planned: Plans, message: NewMessage, head: bytes) -> Result:
    """Store the message by its plans. `head` is the message's beginning, for reports.

    When no plan could be carried out nothing was stored, and no report is made: the client is told.
    """
    outcomes = delivery.deliver(tx, message, planned.plans)
    if not any(outcome.error for outcome in outcomes) and not any("SUCCESS" in r.notify for r in envelope.recipients):
        queued = sum(outcome.queue_id is not None for outcome in outcomes)
        return Result((None,) * len(envelope.recipients), len(outcomes) - queued, queued, 0)
    return _settle(tx, envelope, planned, outcomes, message, head)


def _settle(
    tx: Tx, envelope: Envelope, planned: Plans, outcomes: Sequence[Outcome], message: NewMessage, head: bytes
) -> Result:
    stored = [outcome for outcome in outcomes if outcome.error is None]
    queued = sum(outcome.queue_id is not None for outcome in stored)
    errors: list[str | None] = []
    told: list[Told] = []
    dropped = 0
    for recipient, indexes in zip(envelope.recipients, planned.of_recipient, strict=True):
        mine = [outcomes[at] for at in indexes]
        failures = [outcome.error for outcome in mine if outcome.error is not None]
        errors.append(failures[0] if len(failures) == len(mine) else None)
        # Of a recipient that failed altogether an LMTP client hears in its reply; of a part of one nobody else does.
        if failures and stored and (envelope.reports or len(failures) < len(mine)):
            wanted = not recipient.notify or "FAILURE" in recipient.notify
            if wanted and envelope.sender:
                error = failures[0]
                reason = _REASON.get(error, error)
                told.append(Told(recipient.address, "failed", _STATUS.get(error, "5.0.0"), reason, recipient.orcpt))
            else:
                dropped += 1
        elif not failures and "SUCCESS" in recipient.notify and envelope.sender and not recipient.route.forward:
            told.append(Told(recipient.address, "delivered", "2.0.0", "delivered to the mailbox", recipient.orcpt))
    if told:
        _report(tx, envelope, told, message, head)
    return Result(tuple(errors), len(stored) - queued, queued, dropped)


def _report(tx: Tx, envelope: Envelope, told: list[Told], message: NewMessage, head: bytes) -> None:
    """Put the report into the sender's mailbox, or into the queue when that is elsewhere."""
    reported = Reported(
        message_id=envelope.message_id,
        sender=envelope.sender,
        envid=envelope.envid,
        full=envelope.ret == "FULL",
        arrived=envelope.arrived,
        head=head,
        whole=message.analysis.size == len(head),
    )
    content = report.render(reported, told, envelope.hostname)
    notice = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
    route = find(tx, envelope.sender_local, envelope.sender_domain)
    prefix = f"Return-Path: <>\r\nDelivered-To: {envelope.sender}\r\n".encode()
    plans: list[Delivery | Queued] = [
        Delivery(recipient=name, user_id=user, prefix=prefix) for user, name in route.users
    ]
    plans += [Queued(sender="", recipient=address) for address in route.forward]
    if not plans:  # elsewhere, or a mailbox that is gone: the queue finds out
        plans.append(Queued(sender="", recipient=envelope.sender))
    delivery.deliver(tx, notice, plans)
