"""Settling a batch of attempts in one transaction: rows removed, put off or kept as dead letters, reports, events.

A row whose sender must be told is removed by the commit that puts the report into a mailbox or into the queue, so that
a crash loses neither. Where a report cannot be put anywhere its rows stay as dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pillarbox.store import queue_settle, queue_upkeep, queue_wishes
from pillarbox.store.events import Event, add_events
from pillarbox.store.queue_wishes import Wish
from pillarbox.store.records import QueuedMessage
from pillarbox.store.tx import Tx

from ..parcel import Reply
from ..story import entry
from .policy import Policy
from .reports import report
from .verdict import Attempt, Judged, Verdict, as_wished


class Settled(NamedTuple):
    """`dead` and `gone`: ids of rows that became dead letters, and of those somebody else took away meanwhile."""

    dead: frozenset[int]
    gone: frozenset[int]
    reports: int


def settle(tx: Tx, judged: Sequence[Judged], holder: str, policy: Policy, ids: Sequence[str], at: float) -> Settled:
    """`ids`: names for reports that may have to be made, at least one for each attempt. `at`: epoch seconds."""
    # Who has the message has it, whatever became of its row. Nearly all that is settled is this.
    done = {a.row.id for a, verdict in judged if a.outcome.result == "delivered" and not verdict.report}
    mine = queue_settle.remove(tx, list(done), holder)
    wishes: dict[int, Wish] = {}
    if others := [attempt.row.id for attempt, _ in judged if attempt.row.id not in done]:
        claims = queue_wishes.claims(tx, others, holder)
        mine |= {row_id: claim.mine for row_id, claim in claims.items()}
        wishes = {row_id: claim.wish for row_id, claim in claims.items() if claim.mine and claim.wish is not None}
        if wishes:
            judged = [
                as_wished(a, v, wishes[a.row.id], int(at), policy) if a.row.id in wishes else (a, v) for a, v in judged
            ]
    known = mine | _held(tx, judged, mine, holder)
    reports = report(tx, [one for one in judged if one[1].report and known.get(one[0].row.id)], policy, ids, at)
    dead: set[int] = set()
    if others:
        rest = [one for one in judged if one[0].row.id not in done]
        free = {row_id for row_id in others if mine.get(row_id)} - reports.failed
        dead = _carry_out(tx, rest, free, wishes, holder, policy)
    events = [
        _event(attempt, verdict, at, verdict.report if attempt.row.id in reports.posted else "")
        for attempt, verdict in judged
        if verdict.event != "deleted" and (attempt.tried or verdict.event != "deferred")
    ]
    add_events(tx, [*events, *reports.events, *_obeyed(judged, wishes, at)])
    absent = frozenset(attempt.row.id for attempt, _ in judged if not mine.get(attempt.row.id))
    queue_settle.let_go(tx, holder, list(absent - done))
    return Settled(frozenset(dead - absent), absent, len(reports.events))


def _held(tx: Tx, judged: Sequence[Judged], mine: Mapping[int, bool], holder: str) -> dict[int, bool]:
    """Rows that were held while they were delivered, and whether nobody else has had them since: their senders are told
    what was done, held or not."""
    done = [a.row.id for a, verdict in judged if verdict.report and a.outcome.result == "delivered"]
    held = [row_id for row_id in done if mine.get(row_id) is False]
    return queue_upkeep.in_hand(tx, held, holder) if held else {}


def _carry_out(
    tx: Tx, judged: Sequence[Judged], free: AbstractSet[int], wishes: Mapping[int, Wish], holder: str, policy: Policy
) -> set[int]:
    """Remove rows, put them off, give them back, keep them as dead letters; ids of these. `free`: those that may be
    removed without having been delivered, since they are the holder's and no report of them is missing."""
    removed: list[int] = []
    deferred: list[Judged] = []
    back: list[int] = []
    dead: list[tuple[int, str, str]] = []
    for attempt, verdict in judged:
        row_id = attempt.row.id
        if attempt.outcome.result == "delivered" or (verdict.fate == "remove" and row_id in free):
            removed.append(row_id)
        elif verdict.fate == "defer":
            deferred.append((attempt, verdict))
        elif verdict.fate == "back":
            back.append(row_id)
        else:
            dead.append((row_id, *_said(attempt.outcome.reply)))
    queue_settle.remove(tx, removed)
    if deferred:
        _put_off(tx, deferred, holder, policy)
    queue_settle.give_back(tx, holder, back)
    queue_wishes.moved(tx, [id for id in (*back, *(attempt.row.id for attempt, _ in deferred)) if id in wishes])
    if dead:
        untried = {attempt.row.id for attempt, _ in judged if not attempt.tried}
        queue_settle.fail(tx, dead, untried=untried, holder=holder)
    return {row_id for row_id, *_ in dead}


def _put_off(tx: Tx, judged: Sequence[Judged], holder: str, policy: Policy) -> None:
    rows = [(attempt.row.id, verdict.at, *_said(attempt.outcome.reply)) for attempt, verdict in judged]
    queue_settle.defer(tx, rows, holder=holder)
    for sender in {attempt.row.sender for attempt, _ in judged}:
        theirs = [attempt.row.id for attempt, _ in judged if attempt.row.sender == sender]
        queue_upkeep.note_retries(tx, theirs, policy.retries_of(sender))
    queue_settle.note_delay(tx, [attempt.row.id for attempt, verdict in judged if verdict.report == "delayed"])
    if ends := [(attempt.row.id, v.expires_at) for attempt, v in judged if v.expires_at is not None]:
        queue_upkeep.note_end(tx, ends)


def _said(reply: Reply) -> tuple[str, str]:
    """The error, and the host that it came from."""
    return f"{reply.code} {reply.enhanced} {reply.text}", reply.host


def _obeyed(judged: Sequence[Judged], wishes: Mapping[int, Wish], at: float) -> list[Event]:
    """Orders of an operator that could be carried out only now."""
    events = []
    for attempt, verdict in judged:
        if (wish := wishes.get(attempt.row.id)) is None:
            continue
        if verdict.event == "deleted":
            events.append(_ordered(at, attempt.row, "deleted", wish))
        elif wish.order == "move" and verdict.fate in ("defer", "back"):
            events.append(_ordered(at, attempt.row, "moved", wish))
    return events


def _ordered(at: float, row: QueuedMessage, kind: str, wish: Wish) -> Event:
    facts = {"operator": wish.operator, "destination": wish.destination}
    return entry(at, row.message_key, kind, sender=row.sender, recipient=row.recipient, queue_id=row.id, **facts)


def _event(attempt: Attempt, verdict: Verdict, at: float, reported: str) -> Event:
    """`reported`: of what its sender was told."""
    row, reply = attempt.row, attempt.outcome.reply
    return entry(
        at,
        row.message_key,
        verdict.event,
        sender=row.sender,
        recipient=row.recipient,
        queue_id=row.id,
        tries=row.attempts + 1 if attempt.tried else 0,
        began=int(attempt.began * 1000),
        stage=reply.stage,
        code=reply.code,
        enhanced=reply.enhanced,
        text=reply.text,
        host=reply.host,
        address=reply.address,
        tls=reply.tls,
        mail_from=attempt.mail_from if attempt.mail_from != row.sender else "",
        next_at=verdict.at,
        reported=reported,
    )
