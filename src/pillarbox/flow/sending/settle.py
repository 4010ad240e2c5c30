"""Settling a batch of attempts in one transaction: rows removed, put off or kept as dead letters, reports, events.

A row whose sender must be told is removed by the commit that puts the report into a mailbox or into the queue, so that
a crash loses neither. Where a report cannot be put anywhere its rows stay as dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pillarbox.store import blobs, queue_settle, queue_upkeep, queue_wishes
from pillarbox.store.errors import StoreError, Temporary
from pillarbox.store.events import Event, add_events
from pillarbox.store.queue_wishes import Wish
from pillarbox.store.records import QueuedMessage
from pillarbox.store.tx import Tx

from ..report import FULL_LIMIT, Reported, render
from ..report_delivery import post
from ..report_text import Told
from ..story import entry
from .policy import Policy
from .verdict import Attempt, Verdict, as_wished

# Stages in which a server's words decided; in the others they are ours.
_THEIRS = frozenset({"GREETING", "HELLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "END"})
_OF_THE_LAST = "The last try: "

Judged = tuple[Attempt, Verdict]


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
    events: list[Event] = []
    told: list[Event] = []
    posted: set[int] = set()
    unreported: set[int] = set()
    reports = 0
    for group in _groups([one for one in judged if one[1].report and known.get(one[0].row.id)]):
        if _report(tx, group, policy, ids[reports], at):
            reports += 1
            posted.update(attempt.row.id for attempt, _ in group)
            first, kind = group[0][0].row, group[0][1].report
            told.append(entry(at, first.message_key, "report", recipient=first.sender, about=kind))
        else:
            unreported.update(attempt.row.id for attempt, _ in group)
    removed, deferred, dead, back = [], [], [], []
    for attempt, verdict in judged:
        row, reply = attempt.row, attempt.outcome.reply
        wish = wishes.get(row.id)
        if verdict.event == "deleted" and wish is not None:
            told.append(_ordered(at, row, "deleted", wish))
        elif attempt.tried or verdict.event != "deferred":
            events.append(_event(attempt, verdict, at, verdict.report if row.id in posted else ""))
        if verdict.fate in ("defer", "back") and wish is not None and wish.order == "move":
            told.append(_ordered(at, row, "moved", wish))
        if row.id in done:
            continue
        error = f"{reply.code} {reply.enhanced} {reply.text}"
        reported = verdict.fate == "remove" and mine.get(row.id) and row.id not in unreported
        if attempt.outcome.result == "delivered" or reported:
            removed.append(row.id)
        elif verdict.fate == "defer":
            deferred.append((row.id, verdict.at, error, reply.host))
        elif verdict.fate == "back":
            back.append(row.id)
        else:
            dead.append((row.id, error, reply.host))
    queue_settle.remove(tx, removed)
    if deferred:
        queue_settle.defer(tx, deferred, holder=holder)
        for sender in {attempt.row.sender for attempt, verdict in judged if verdict.fate == "defer"}:
            put_off = [a.row.id for a, verdict in judged if verdict.fate == "defer" and a.row.sender == sender]
            queue_upkeep.note_retries(tx, put_off, policy.retries_of(sender))
    queue_settle.note_delay(tx, [attempt.row.id for attempt, verdict in judged if verdict.report == "delayed"])
    if ends := [(a.row.id, v.expires_at) for a, v in judged if v.expires_at is not None and v.fate == "defer"]:
        queue_upkeep.note_end(tx, ends)
    queue_settle.give_back(tx, holder, back)
    queue_wishes.moved(tx, [id for id in (*back, *(row_id for row_id, *_ in deferred)) if id in wishes])
    queue_settle.fail(tx, dead, holder=holder)
    add_events(tx, [*events, *told])
    absent = frozenset(attempt.row.id for attempt, _ in judged if not mine.get(attempt.row.id))
    queue_settle.let_go(tx, holder, list(absent - done))
    return Settled(frozenset(row_id for row_id, *_ in dead) - absent, absent, reports)


def _ordered(at: float, row: QueuedMessage, kind: str, wish: Wish) -> Event:
    """An operator's order that could be carried out only now."""
    facts = {"operator": wish.operator, "destination": wish.destination}
    return entry(at, row.message_key, kind, sender=row.sender, recipient=row.recipient, queue_id=row.id, **facts)


def _held(tx: Tx, judged: Sequence[Judged], mine: Mapping[int, bool], holder: str) -> dict[int, bool]:
    """Rows that were held while they were delivered, and whether nobody else has had them since: their senders are told
    what was done, held or not."""
    done = [a.row.id for a, verdict in judged if verdict.report and a.outcome.result == "delivered"]
    held = [row_id for row_id in done if mine.get(row_id) is False]
    return queue_upkeep.in_hand(tx, held, holder) if held else {}


def _groups(judged: Sequence[Judged]) -> list[list[Judged]]:
    """Recipients that share a report: of one message, and of one kind."""
    groups: dict[tuple[object, ...], list[Judged]] = {}
    for attempt, verdict in judged:
        row = attempt.row
        kind = verdict.report if verdict.report in ("failed", "delayed") else "done"
        groups.setdefault((row.message_key, row.blob_id, row.sender, row.envid, row.ret, kind), []).append(
            (attempt, verdict)
        )
    return list(groups.values())


def _report(tx: Tx, group: Sequence[Judged], policy: Policy, report_id: str, at: float) -> bool:
    row = group[0][0].row
    head = _head(tx, row.blob_id, row.prefix)
    reported = Reported(
        message_id=row.message_key or str(row.id),
        sender=row.sender,
        envid=row.envid,
        full=row.ret == "FULL",
        arrived=row.created_at,
        head=head,
        whole=len(head) == row.size,
        at=at,
        serial=f"{report_id}.",
    )
    content = render(reported, [_told(attempt, verdict) for attempt, verdict in group], policy.hostname)
    try:
        with tx.savepoint():
            return post(tx, content, row.sender, row.message_key or report_id)  # one story with the message
    except Temporary:
        raise
    except StoreError:  # what is wrong with one report is no reason to try its messages again
        return False


def _head(tx: Tx, blob_id: int, prefix: bytes) -> bytes:
    try:
        return prefix + blobs.read_slice(tx, blob_id, 0, FULL_LIMIT)
    except Temporary:
        raise
    except StoreError:  # a report without the message is better than none
        return prefix


def _told(attempt: Attempt, verdict: Verdict) -> Told:
    row, reply = attempt.row, attempt.outcome.reply
    theirs = reply.stage in _THEIRS and bool(reply.host or reply.address)
    inside = reply.host.startswith("/")  # behind a Unix socket: its path is no name of a host, and nobody's business
    reason = verdict.reason
    if not theirs:
        reason = f"{reason} {_OF_THE_LAST if reason else ''}{reply.text}".strip()
    return Told(
        address=row.recipient,
        action=verdict.report,
        status=verdict.status,
        reason=reason,
        orcpt=row.orcpt,
        host="" if inside else reply.host,
        place="" if inside else reply.address,
        said=f"{reply.code} {reply.enhanced} {reply.text}" if theirs else "",
        stage=reply.stage,
        last_attempt=attempt.began,
        retry_until=verdict.until if verdict.report == "delayed" else None,
        log_id=f"{row.message_key}.{row.id}" if row.message_key else str(row.id),
    )


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
