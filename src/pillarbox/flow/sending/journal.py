"""What settled attempts leave in the log and in the counters: a line for each recipient."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from pillarbox.access.ledger import Field, Slot

from .settle import Settled
from .verdict import Judged

log = structlog.get_logger()

_COUNTED = {
    "relayed": Field.QUEUE_RELAYED,
    "deferred": Field.QUEUE_DEFERRED,
    "bounced": Field.QUEUE_BOUNCED,
    "expired": Field.QUEUE_EXPIRED,
}


def note(counters: Slot, judged: Sequence[Judged], settled: Settled) -> None:
    """After the commit that settled them."""
    for attempt, verdict in judged:
        row, reply = attempt.row, attempt.outcome.reply
        if not attempt.tried and verdict.event == "deferred":
            continue
        if (field := _COUNTED.get(verdict.event)) is not None:
            counters.add(field)
        said = f"{reply.code} {reply.enhanced} {reply.text}"
        facts = {
            "message_id": row.message_key,
            "queue_id": row.id,
            "host": reply.host,
            "address": reply.address,
            "tls": reply.tls,
            "seconds": int(attempt.began) - row.created_at,
        }
        word = verdict.event.capitalize()
        if row.id in settled.dead:
            counters.add(Field.QUEUE_DEAD)
            log.warning("%s: TO=%s: %s; kept as a dead letter", word, row.recipient, said, **facts)
        elif row.id in settled.gone:
            log.info("%s: TO=%s: %s; an operator took it away meanwhile", word, row.recipient, said, **facts)
        else:
            log.info("%s: TO=%s: %s", word, row.recipient, said, **facts)
    if settled.reports:
        counters.add(Field.REPORTS_SENT, settled.reports)
