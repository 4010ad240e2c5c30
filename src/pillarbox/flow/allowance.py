"""What an account may send: so many messages and recipients an hour and a day, and not to many strangers at once.

Counted in the transaction that stores the message, so that no number of workers and nodes sends more. A burst to many
addresses that the account never wrote to is what a thief does with a password: the message is taken and held, with all
that the account has in the queue, and the account sends nothing more until an operator has looked.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pillarbox.store import directory, usage
from pillarbox.store.records import NewMessage, Usage, Warm
from pillarbox.store.tx import Tx
from pillarbox.store.usage import HOUR

from . import account_hold, deliver
from .deliver import Result
from .planning import Envelope, Plans, plan

_DAY = 24  # hours


class Limit(Enum):
    MESSAGES_PER_HOUR = "messages an hour"
    MESSAGES_PER_DAY = "messages a day"
    RECIPIENTS_PER_HOUR = "recipients an hour"
    RECIPIENTS_PER_DAY = "recipients a day"


class Allowance(NamedTuple):
    """Limits of every account; 0 is none."""

    messages_per_hour: int = 0
    messages_per_day: int = 0
    recipients_per_hour: int = 0
    recipients_per_day: int = 0
    new_recipients_per_hour: int = 0


class Held(Exception):
    """The account may send nothing; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the account is held: {reason}")
        self.reason = reason


class OverLimit(Exception):
    """Nothing was stored. `until` is when it will go, in seconds since 1970; None: never, it is too many at once."""

    def __init__(self, limit: Limit, most: int, until: int | None) -> None:
        super().__init__(f"more than {most} {limit.value}")
        self.limit = limit
        self.most = most
        self.until = until


class Submitted(NamedTuple):
    """What `deliver` says, and the reason when the account is held since this message."""

    result: Result
    held: str = ""


def submit(
    tx: Tx,
    allowance: Allowance,
    envelope: Envelope,
    planned: Plans,
    message: NewMessage,
    head: bytes,
    warm: Warm | None = None,
) -> Submitted:
    """`deliver` for what an account sends; what no limit looks at is not counted. Raises Held, OverLimit, NotFound (the
    account has gone)."""
    assert envelope.user_id is not None
    user_id = envelope.user_id
    held = _held(tx, user_id)
    if held is not None:
        raise Held(held)
    most = allowance.new_recipients_per_hour
    if any(allowance):
        sent = usage.add(tx, user_id, [recipient.address for recipient in envelope.recipients])
        _check(tx, user_id, allowance, sent, len(envelope.recipients))
    if not most or sent.hour_new <= most:
        return Submitted(deliver.deliver(tx, envelope, planned, message, head, warm))
    envelope = envelope._replace(held=True)
    result = deliver.deliver(tx, envelope, plan(envelope, message, head), message, head)
    reason = f"{sent.hour_new} recipients in an hour to whom it never wrote before"
    account_hold.hold(
        tx, directory.get_user(tx, user_id), reason, hostname=envelope.hostname, message_id=envelope.message_id
    )
    return Submitted(result, reason)


def _held(tx: Tx, user_id: int) -> str | None:
    """Why the account may send nothing; None when it may. Raises NotFound."""
    known, key = tx.remembered(), ("held", user_id)
    if key not in known:
        user = directory.get_user(tx, user_id)
        known[key] = None if user.sending_held_at is None else user.sending_held_reason
    held: str | None = known[key]
    return held


def _check(tx: Tx, user_id: int, allowance: Allowance, sent: Usage, recipients: int) -> None:
    limits = (
        (Limit.MESSAGES_PER_HOUR, allowance.messages_per_hour, sent.hour_messages, 1),
        (Limit.MESSAGES_PER_DAY, allowance.messages_per_day, sent.day_messages, 1),
        (Limit.RECIPIENTS_PER_HOUR, allowance.recipients_per_hour, sent.hour_recipients, recipients),
        (Limit.RECIPIENTS_PER_DAY, allowance.recipients_per_day, sent.day_recipients, recipients),
    )
    for limit, most, count, these in limits:
        if not most or count <= most:
            continue
        if these > most:
            raise OverLimit(limit, most, None)
        if limit in (Limit.MESSAGES_PER_HOUR, Limit.RECIPIENTS_PER_HOUR):
            raise OverLimit(limit, most, (tx.now // HOUR + 1) * HOUR)
        column = 1 if limit is Limit.MESSAGES_PER_DAY else 2
        raise OverLimit(limit, most, _room(usage.hours(tx, user_id), column, count - most))


def _room(hours: list[tuple[int, int, int]], column: int, excess: int) -> int:
    """When so many of an account's day will be more than a day ago. This message is counted in the last hour."""
    for hour in hours:
        excess -= hour[column]
        if excess <= 0:
            return (hour[0] + _DAY) * HOUR
    return (hours[-1][0] + _DAY) * HOUR
