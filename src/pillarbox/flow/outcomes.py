"""What receiving a message leaves in its story: an event for each mailbox and queue row, who brought it with the first.

A message that went into one mailbox is one event, so that telling stories costs little; `pillarbox trace` makes the
sentences "it was accepted" and "it was delivered" of it. An address that leads to others has an event of its own: by it
the message is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillarbox.store.records import Event, Queued

from .deliver import Result
from .story import entry


def told(at: float, message_key: str, sender: str, result: Result, facts: Mapping[str, Any]) -> list[Event]:
    """The events of a message that was taken; `facts` of the client and the message, see `story`."""
    events: list[Event] = []
    why_held = dict(result.held)
    rest = dict(facts)

    def add(kind: str, recipient: str, queue_id: int | None = None, **more: Any) -> None:
        detail = {**rest, **more}
        events.append(entry(at, message_key, kind, sender=sender, recipient=recipient, queue_id=queue_id, **detail))
        rest.clear()

    if result.recipients:
        found = {plan.recipient for plan in result.plans} | {recipient for recipient, _ in result.discarded}
        for each, error in zip(result.recipients, result.errors, strict=True):
            if error is None and each.address not in found:
                add("expanded", each.address)
    for plan, outcome in zip(result.plans, result.outcomes, strict=True):
        if outcome.error is not None:
            add("refused", plan.recipient, text=outcome.error)
        elif isinstance(plan, Queued):
            kind = "held" if plan.held else "queued"
            add(
                kind,
                plan.recipient,
                outcome.queue_id,
                destination=plan.destination,
                list_or_alias=plan.via,
                not_before=plan.not_before,
                text=why_held.get(plan.recipient),
            )
        else:
            add("delivered", plan.recipient, mailbox=plan.mailbox, mailbox_id=outcome.mailbox_id, uid=outcome.uid)
    if rest:
        add("accepted", "")
    for recipient, why in result.discarded:
        add("discarded", recipient, text=why)
    return events
