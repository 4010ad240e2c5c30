"""What a run does in one transaction: a turn, and the last one."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.store import queue_claim, queue_settle, queue_upkeep
from pillarbox.store.records import QueuedMessage
from pillarbox.store.tx import Tx

from .parts import LEASE
from .policy import LONGEST_BLOCK, Policy
from .settle import Settled, settle
from .verdict import Judged

HASTENED = 1000  # rows made due at once when a destination is back


def turn(
    tx: Tx,
    destination_id: int,
    holder: str,
    came: Sequence[Judged],
    policy: Policy,
    ids: Sequence[str],
    at: float,
    want: int,
    back: bool,
) -> tuple[Settled, list[QueuedMessage], int]:
    """Settle, hasten what was put off when the destination is `back`, claim up to `want` rows; the rows, and how many
    were hastened."""
    settled = settle(tx, came, holder, policy, ids, at)
    # Nothing that is due waited longer than the destination was left alone.
    hastened = queue_upkeep.hasten(tx, destination_id, HASTENED, tx.now - 2 * LONGEST_BLOCK) if back else 0
    rows = queue_claim.claim(tx, destination_id, holder, want, LEASE) if want else []
    return settled, rows, hastened


def leave(
    tx: Tx,
    destination_id: int,
    holder: str,
    came: Sequence[Judged],
    policy: Policy,
    ids: Sequence[str],
    at: float,
    untried: Sequence[int],
    learnt: tuple[int, int, float | None, str] | None,
) -> Settled:
    """Settle, give back what was not tried, and the destination with what was `learnt` when it is leased."""
    settled = settle(tx, came, holder, policy, ids, at)
    queue_settle.give_back(tx, holder, untried)
    if learnt is None:
        return settled
    failures, lanes, blocked_until, last_error = learnt
    queue_claim.leave(
        tx,
        destination_id,
        holder,
        failures=failures,
        concurrency=lanes,
        blocked_until=None if blocked_until is None else int(blocked_until),
        last_error=last_error,
    )
    return settled
