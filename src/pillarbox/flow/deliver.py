"""The last step of receiving: a whole message and its recipients become mailbox entries and queue rows, in one commit.

A message is stored once for an account however many of its recipients lead there. When some of the accounts cannot
take it after all, the others have it, and the report to the sender is made in the same commit, so that a crash loses
neither. Queue rows get their destination here, and posts to lists their members.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.store import delivery
from pillarbox.store.events import add_events
from pillarbox.store.records import Delivery, NewMessage, Outcome, Queued, Warm
from pillarbox.store.tx import Tx

from . import mailing_list, report, report_delivery, report_text
from .destination import Routing, placed
from .mailing_list import Expansion, Post, TooLarge
from .planning import Envelope, Plans, Recipient, is_expanded, plan, received_of
from .refusals import FAILURES, LIST_TOO_LARGE, Failure
from .report import Reported, Told
from .route import Refusal
from .story import entry

__all__ = ["Envelope", "Plans", "Recipient", "Result", "deliver", "plan"]


class Result(NamedTuple):
    """`errors` by recipient: None when at least one of its mailboxes or queue rows was made, or its list has the
    message, or a rule says to discard it; else the reason in a word.

    `plans` and `outcomes` are what was done, one for one. What a rule discards is in `discarded`: recipient and why;
    `held` has the same of those plans that a rule holds.
    """

    errors: tuple[str | None, ...]
    delivered: int  # mailbox entries
    queued: int  # queue rows, reports not counted
    dropped_reports: int  # failures that nobody can be told: null sender, or NOTIFY=NEVER
    discarded: Sequence[tuple[str, str]] = ()
    plans: Sequence[Delivery | Queued] = ()
    outcomes: Sequence[Outcome] = ()
    held: Sequence[tuple[str, str]] = ()
    recipients: Sequence[Recipient] = ()  # whom `errors` are of


class _Work:
    """The plans as they are carried out: `plans[at[index]]` is that of an index of `Plans`, None where it is discarded.

    `posts` has the list of those plans that are a member's copy.
    """

    def __init__(self) -> None:
        self.plans: list[Delivery | Queued] = []
        self.at: list[int | None] = []
        self.posts: dict[int, Post] = {}
        self.discarded: list[tuple[str, str]] = []
        self.held: list[tuple[str, str]] = []


def deliver(
    tx: Tx, envelope: Envelope, planned: Plans, message: NewMessage, head: bytes, warm: Warm | None = None
) -> Result:
    """Store the message by its plans. `head` is the message's beginning, for reports. `warm`: which queue rows are the
    claim of a sender of this process.

    When no plan could be carried out nothing was stored, and no report is made: the client is told.
    """
    expansion, refused = _expand(tx, envelope, planned)
    if refused:
        planned = plan(envelope, message, head, planned.refused | refused)
        expansion, _ = _expand(tx, envelope, planned)
    work = _outward(tx, envelope, planned, message, expansion)
    outcomes = delivery.deliver(tx, message, work.plans, warm)
    errors: tuple[str | None, ...] = (None,) * len(envelope.recipients)
    dropped = 0
    if (
        any(outcome.error for outcome in outcomes)
        or planned.refused
        or expansion.lost
        or any("SUCCESS" in recipient.notify for recipient in envelope.recipients)
    ):
        errors, dropped = _settle(tx, envelope, planned, work, expansion, outcomes, message, head)
    return Result(
        errors=errors,
        delivered=sum(outcome.uid is not None for outcome in outcomes),
        queued=sum(outcome.queue_id is not None for outcome in outcomes),
        dropped_reports=dropped,
        discarded=work.discarded,
        plans=work.plans,
        outcomes=outcomes,
        held=work.held,
        recipients=envelope.recipients,
    )


def _expand(tx: Tx, envelope: Envelope, planned: Plans) -> tuple[Expansion, dict[int, str]]:
    """Whom the lists among the recipients reach; and the recipients that are refused, by index."""
    expansion, refused = Expansion(tx), dict[int, str]()
    for index, list_id in planned.posts:
        if not mailing_list.may_post(tx, list_id, envelope.sender):
            refused[index] = Refusal.MAY_NOT_POST.value
            continue
        try:
            expansion.add(list_id)
        except TooLarge:
            refused[index] = LIST_TOO_LARGE
    return expansion, refused


def _outward(tx: Tx, envelope: Envelope, planned: Plans, message: NewMessage, expansion: Expansion) -> _Work:
    """The plans with members of lists added, and with destinations."""
    work = _Work()
    routing = _Routing(tx, work)
    taken: set[int | str] = set()
    for each in planned.plans:
        routed = routing.route(each) if isinstance(each, Queued) else each
        taken.add(each.recipient if isinstance(each, Queued) else each.user_id)
        if routed is None:
            work.at.append(None)
        else:
            work.at.append(len(work.plans))
            work.plans.append(routed)
    if not planned.posts:
        return work
    received = received_of(envelope, message)
    for user_id, (address, post) in expansion.users.items():
        if user_id not in taken:
            work.posts[len(work.plans)] = post
            prefix = mailing_list.member_prefix(post, address, received)
            work.plans.append(Delivery(recipient=address, user_id=user_id, prefix=prefix))
    for address, post in expansion.forward.items():
        if address in taken:
            continue
        routed = routing.route(_copy(envelope, address, post, received))
        if routed is not None:
            work.posts[len(work.plans)] = post
            work.plans.append(routed)
    return work


def _copy(envelope: Envelope, address: str, post: Post, received: bytes) -> Queued:
    """A member's copy. The list has the message: what its sender asked of delivery ends here (RFC 3461 5.2.7.1)."""
    return Queued(
        sender=post.sender,
        recipient=address,
        prefix=mailing_list.prefix_of(post, received),
        priority=envelope.priority,
        message_key=envelope.message_id,
        user_id=envelope.user_id,
        via=post.address,
        notify="FAILURE",
        ret="HDRS",
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        not_before=envelope.not_before,
        held=envelope.held,
    )


class _Routing:
    """Gives queue rows their destination, and notes with the work what a rule discards or holds."""

    def __init__(self, tx: Tx, work: _Work) -> None:
        self._tx = tx
        self._destinations: Routing | None = None  # mail that goes nowhere needs none
        self._work = work

    def route(self, row: Queued) -> Queued | None:
        """The row with its destination; None when it is discarded."""
        if self._destinations is None:
            self._destinations = Routing(self._tx)
        decision = self._destinations.of(row.sender, row.recipient)
        if decision.action == "discard":
            self._work.discarded.append((row.recipient, decision.why))
            return None
        if decision.action == "hold":
            self._work.held.append((row.recipient, decision.why))
        return placed(row, decision)


def _settle(
    tx: Tx,
    envelope: Envelope,
    planned: Plans,
    work: _Work,
    expansion: Expansion,
    outcomes: Sequence[Outcome],
    message: NewMessage,
    head: bytes,
) -> tuple[tuple[str | None, ...], int]:
    """Make the reports. The errors of the recipients, and how many failures nobody can be told."""
    words = [planned.refused.get(index) for index in range(len(envelope.recipients))]
    failures = [
        [outcomes[at].error or "" for index in indexes if (at := work.at[index]) is not None and outcomes[at].error]
        for indexes in planned.of_recipient
    ]
    posted = {index for index, _ in planned.posts}
    errors = [
        word or (failed[0] if failed and len(failed) == len(indexes) and index not in posted else None)
        for index, (word, failed, indexes) in enumerate(zip(words, failures, planned.of_recipient, strict=True))
    ]
    told: list[Told] = []
    dropped = 0
    for recipient, failed, error in zip(envelope.recipients, failures, errors, strict=True):
        reason = error or (failed[0] if failed else None)
        # Of a recipient that failed altogether an LMTP client hears in its reply; of a part of one nobody else does.
        if reason is not None and None in errors and (envelope.reports or error is None):
            wanted = not recipient.notify or "FAILURE" in recipient.notify
            if wanted and envelope.sender:
                told.append(_failure(recipient.address, reason, recipient.orcpt))
            else:
                dropped += 1
        elif reason is None and "SUCCESS" in recipient.notify and envelope.sender:
            told += _success(recipient)
    if told:
        _report(tx, envelope, envelope.sender, told, message, head)
    for bounces, members in _members_failed(work, expansion, outcomes).items():
        _report(tx, envelope, bounces, members, message, head)
    return tuple(errors), dropped


def _failure(address: str, error: str, orcpt: str = "") -> Told:
    status, reason = FAILURES.get(error) or Failure("5.0.0", error)
    return Told(address, "failed", status, reason, orcpt)


def _success(recipient: Recipient) -> list[Told]:
    """What is told of a recipient whose sender asked for it. Who is elsewhere is reported on by whoever delivers."""
    route, address = recipient.route, recipient.address
    if is_expanded(route):
        return [Told(address, "expanded", "2.0.0", "passed on to several addresses", recipient.orcpt)]
    if route.forward:
        return []
    reason = "delivered to the list" if route.lists else "delivered to the mailbox"
    return [Told(address, "delivered", "2.0.0", reason, recipient.orcpt)]


def _members_failed(work: _Work, expansion: Expansion, outcomes: Sequence[Outcome]) -> dict[str, list[Told]]:
    """Members who did not get a post, by the list's address for bounces."""
    failed: dict[str, list[Told]] = {}
    for lost in expansion.lost:
        failed.setdefault(lost.post.sender, []).append(_failure(lost.address, lost.reason))
    for at, post in work.posts.items():
        if error := outcomes[at].error:
            failed.setdefault(post.sender, []).append(_failure(outcomes[at].recipient, error))
    return failed


def _report(tx: Tx, envelope: Envelope, to: str, told: list[Told], message: NewMessage, head: bytes) -> None:
    """Put the report into the mailbox of `to`, or into the queue when that is elsewhere."""
    reported = Reported(
        message_id=envelope.message_id,
        sender=to,
        envid=envelope.envid if to == envelope.sender else "",
        full=envelope.ret == "FULL" and to == envelope.sender,
        arrived=envelope.arrived,
        head=head,
        whole=message.analysis.size == len(head),
    )
    content = report.render(reported, told, envelope.hostname)
    if report_delivery.post(tx, content, to, envelope.message_id):
        add_events(
            tx, [entry(time.time(), envelope.message_id, "report", recipient=to, about=report_text.kind_of(told))]
        )
