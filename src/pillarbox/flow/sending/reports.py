"""The reports of a batch of attempts: one for all that can share it, put into a mailbox or into the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.store import blobs
from pillarbox.store.errors import StoreError, Temporary
from pillarbox.store.events import Event
from pillarbox.store.tx import Tx

from ..report import FULL_LIMIT, Reported, render
from ..report_delivery import post
from ..report_text import Told
from ..story import entry
from .policy import Policy
from .verdict import Attempt, Judged, Verdict

# Stages in which a server's words decided; in the others they are ours.
_THEIRS = frozenset({"GREETING", "HELLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "END"})
_OF_THE_LAST = "The last try: "


class Reports(NamedTuple):
    """An event for each; ids of the rows that they tell of, and of those whose report cannot be put anywhere."""

    events: list[Event]
    posted: set[int]
    failed: set[int]


def report(tx: Tx, judged: Sequence[Judged], policy: Policy, ids: Sequence[str], at: float) -> Reports:
    """Tell the senders of these. `ids`: names for reports, enough of them. `at`: epoch seconds."""
    made = Reports([], set(), set())
    for group in _groups(judged):
        rows = [attempt.row.id for attempt, _ in group]
        if _report(tx, group, policy, ids[len(made.events)], at):
            first, kind = group[0][0].row, group[0][1].report
            made.events.append(entry(at, first.message_key, "report", recipient=first.sender, about=kind))
            made.posted.update(rows)
        else:
            made.failed.update(rows)
    return made


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
        said=reply.words if theirs else "",  # RFC 3464 section 2.3.6: the code that was really given
        stage=reply.stage,
        last_attempt=attempt.began,
        retry_until=verdict.until if verdict.report == "delayed" else None,
        log_id=f"{row.message_key}.{row.id}" if row.message_key else str(row.id),
    )
