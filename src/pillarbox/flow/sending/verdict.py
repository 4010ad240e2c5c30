"""What becomes of a row after an attempt: gone, tried again, or given up; and what its sender is told.

Pure decisions over one row and one outcome. Age gives up (RFC 5321 section 4.5.4.1), a time the sender set (RFC 2852),
or an operator.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pillarbox.store.queue import BOUNCE
from pillarbox.store.queue_wishes import Wish
from pillarbox.store.records import QueuedMessage

from ..parcel import Kind, Outcome, Reply
from .policy import Policy

Fate = Literal["remove", "defer", "dead", "back"]
Report = Literal["", "failed", "delayed", "delivered", "relayed", "expanded"]
Event = Literal["relayed", "deferred", "bounced", "expired", "deleted"]

NEVER = "NEVER"
SPREAD = 300  # seconds over which the tries of one moment are spread that bring delay reports


class Attempt(NamedTuple):
    """One row and what came of trying it. `began` in epoch seconds; `tried`: somebody was really asked.

    `kind` of the hop; `mail_from` is the sender that the next hop saw.
    """

    row: QueuedMessage
    outcome: Outcome
    began: float
    kind: Kind
    mail_from: str
    tried: bool = True


class Verdict(NamedTuple):
    """`at`: when it is tried next, for "defer"; with "back" it was not tried at all. `status` and `reason` are for the
    report."""

    fate: Fate
    event: Event
    report: Report = ""
    at: int = 0
    until: int = 0  # when it will be given up
    status: str = ""
    reason: str = ""
    expires_at: int | None = None  # to be noted with the row, since its life began late


Judged = tuple[Attempt, Verdict]


def end_of(row: QueuedMessage, now: int, policy: Policy) -> int:
    """When the row is given up, in epoch seconds.

    What nobody could try for most of its life (it was to be released later, held, or this server was down) has its
    life from the first try on.
    """
    if row.expires_at is not None and row.expires_at != BOUNCE:
        return row.expires_at
    lifetime = policy.lifetime_of(row.sender)
    if row.attempts == 0 and now - row.created_at > lifetime // 4:
        return now + lifetime
    return row.created_at + lifetime


def overdue(row: QueuedMessage, now: int) -> Outcome | None:
    """What ends a row before it is tried: an operator, or the time that its sender set for the delivery."""
    if row.expires_at == BOUNCE:
        return _returned(row, row.last_error)
    if row.deliver_by is not None and row.deliver_mode.startswith("R") and row.deliver_by <= now:
        text = "The time that you set for the delivery is over"
        if row.last_error:
            text += f"; the last try: {row.last_error}"
        return Outcome(row.id, "failed", Reply("POLICY", 554, "5.4.7", text))
    return None


def judge(attempt: Attempt, now: int, policy: Policy, chance: float) -> Verdict:
    """`chance` in [0, 1) varies the next delay."""
    row, outcome = attempt.row, attempt.outcome
    if outcome.result == "delivered":
        return _delivered(attempt)
    if outcome.result == "failed":
        late = not attempt.tried and row.expires_at != BOUNCE
        return _given_up(row, "expired" if late else "bounced", outcome.reply.enhanced)
    return _deferred(attempt, now, policy, chance)


def untried(row: QueuedMessage, began: float, kind: Kind) -> tuple[Attempt, Verdict]:
    """A row that is given back as it was claimed, unless an operator wishes something else."""
    outcome = Outcome(row.id, "deferred", Reply("POLICY", 451, "4.3.2", "Called back"))
    return Attempt(row, outcome, began, kind, row.sender, tried=False), Verdict("back", "deferred")


def as_wished(attempt: Attempt, verdict: Verdict, wish: Wish, now: int, policy: Policy) -> tuple[Attempt, Verdict]:
    """What an operator wished while a row was tried, where nobody has it now: its sender has it back, it is gone, or it
    waits for another route. Who has the message has it.
    """
    row, outcome = attempt.row, attempt.outcome
    if outcome.result == "delivered":
        return attempt, verdict
    if wish.order == "bounce":
        if verdict.fate in ("remove", "dead"):
            return attempt, verdict
        reply = outcome.reply
        returned = _returned(row, f"{reply.code} {reply.enhanced} {reply.text}" if attempt.tried else row.last_error)
        return attempt._replace(outcome=returned), _given_up(row, "bounced", returned.reply.enhanced)
    if wish.order == "delete":
        return attempt, Verdict("remove", "deleted")
    if wish.order == "move" and attempt.tried:
        return attempt, Verdict(
            "defer", "deferred", at=now, expires_at=_begun_late(row, end_of(row, now, policy), policy)
        )
    return attempt, Verdict("back", "deferred")


def _returned(row: QueuedMessage, last: str | None) -> Outcome:
    text = "Returned by the administrator of this mail server"
    if last:
        text += f"; the last try: {last}"
    return Outcome(row.id, "failed", Reply("POLICY", 554, "5.7.1", text))


def _delivered(attempt: Attempt) -> Verdict:
    row, outcome = attempt.row, attempt.outcome
    local = attempt.kind in ("lmtp", "local")
    asked = "SUCCESS" in row.notify
    traced = "T" in row.deliver_mode and row.notify != NEVER and not local  # RFC 2852 section 4.1.4.3
    # Nobody watches the time any more (RFC 2852 section 4.1.4): its sender hears that much, unless nothing is wanted.
    untimed = row.deliver_mode.startswith("N") and row.notify != NEVER and not local and not outcome.in_time
    report: Report = ""
    if row.sender and ((asked and not outcome.dsn) or traced or untimed):
        report = "expanded" if outcome.expanded else "delivered" if local else "relayed"
    status = outcome.reply.enhanced if outcome.reply.enhanced.startswith("2.") else "2.0.0"
    return Verdict("remove", "relayed", report, status=status, reason=_unheard(attempt) if report == "relayed" else "")


def _unheard(attempt: Attempt) -> str:
    """What the server that has the message now does not tell its sender."""
    lacks = "reports no deliveries" if not attempt.outcome.dsn else ""
    if attempt.row.deliver_mode and not attempt.outcome.in_time:
        lacks += f"{' and ' if lacks else ''}does not watch the time that you set for the delivery"
    return f"That server {lacks}: you may hear no more of it." if lacks else ""


def _given_up(row: QueuedMessage, event: Event, status: str, reason: str = "") -> Verdict:
    if not row.sender:  # nobody can be told: kept for the operator
        return Verdict("dead", event, status=status, reason=reason)
    told = not row.notify or "FAILURE" in row.notify
    return Verdict("remove", event, "failed" if told else "", status=_class(status, "5"), reason=reason)


def _deferred(attempt: Attempt, now: int, policy: Policy, chance: float) -> Verdict:
    row, status = attempt.row, _class(attempt.outcome.reply.enhanced, "4")
    end = end_of(row, now, policy)
    tries = row.attempts + 1
    if now >= end or (policy.tries is not None and tries > policy.tries):
        age = _span(max(now - row.created_at, 0))
        # 4.4.7: it may well succeed when it is sent again (RFC 3463 section 2, class 4).
        verdict = _given_up(row, "expired", "4.4.7", f"It could not be delivered for {age} and is given up.")
        return verdict._replace(status="4.4.7")
    at = now + policy.schedule.delay(tries, chance)
    wanted = bool(row.sender) and row.delay_reported_at is None and (not row.notify or "DELAY" in row.notify)
    late = False
    if policy.delay_report_after:
        told_at = end - policy.lifetime_of(row.sender) + policy.delay_report_after
        late = told_at <= now
        if wanted and now < told_at < at:  # one more try then, so that the sender is told in time
            at = min(at, told_at + int(chance * SPREAD))
    deliver_by = row.deliver_by if row.deliver_mode else None
    if deliver_by is not None:
        if row.deliver_mode.startswith("N"):
            late = late or deliver_by <= now  # RFC 2852 section 4.1.4.2: the sender is told, the message goes on
        if now < deliver_by < at:
            at = deliver_by
    at = min(at, max(end, now + 1))
    report: Report = "delayed" if late and wanted else ""
    expires_at = _begun_late(row, end, policy)
    return Verdict("defer", "deferred", report, at=at, until=end, status=status, expires_at=expires_at)


def _begun_late(row: QueuedMessage, end: int, policy: Policy) -> int | None:
    """The end, where it is to be noted: later it would not follow from the row's age."""
    return end if row.expires_at is None and end != row.created_at + policy.lifetime_of(row.sender) else None


def _class(status: str, digit: str) -> str:
    """An enhanced code of the class that the action has."""
    return status if status.startswith(f"{digit}.") else f"{digit}.0.0"


def _span(seconds: int) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds // 86_400} days"
    if seconds >= 2 * 3600:
        return f"{seconds // 3600} hours"
    return f"{seconds // 60} minutes" if seconds >= 120 else "a minute"
