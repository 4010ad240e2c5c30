"""The start of a program that takes the place of another: it finds listeners, ledger and workers as they are.

Nothing here may fail for a reason that the trial could have found: there is no way back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from pillarbox import __version__
from pillarbox.access.ledger import SUPERVISOR, Field, Misfit
from pillarbox.access.ledger_carry import Carry, ForeignLedger

from . import control
from .commons import Commons
from .crew import Worker
from .inheritance import Counting, Inheritance, keep_open
from .listeners import wanted
from .renewal import OLD_GRACE, patience_of

if TYPE_CHECKING:
    from .supervisor import Supervisor

log = structlog.get_logger()


def take_over(ours: Supervisor, commons: Commons, inheritance: Inheritance) -> list[Carry]:
    """Take the old program's figures along; those that are still counted elsewhere are the result."""
    left, made = inheritance.left, inheritance.made
    assert left is not None
    kept = {*commons.estate.descriptors(), *(counting.descriptor for counting in left.ledgers)}
    for descriptor in set(left.estate.descriptors()) - kept:
        os.close(descriptor)  # workers that still use it have their own
    kept |= {someone.orders for someone in (*left.workers, *made.workers)}
    keep_open(kept, inheritable=False)
    commons.ledger.clear(SUPERVISOR)  # the gauges are ours to set
    ours.own = commons.ledger.attach(SUPERVISOR)
    return [
        Carry(ours.own, _foreign(counting), counting.brought)
        for counting in left.ledgers
        if counting.descriptor != commons.ledger.descriptor
    ]


def _foreign(counting: Counting) -> ForeignLedger:
    try:
        return ForeignLedger(counting.descriptor)
    except Misfit as why:
        log.warning("What old workers count is lost", reason=str(why))
        return ForeignLedger.unreadable(counting.descriptor)


def adopt_workers(ours: Supervisor, inheritance: Inheritance, carries: list[Carry]) -> None:
    """The old workers, which are asked to leave over minutes, and the new ones, which may begin."""
    left, made = inheritance.left, inheritance.made
    assert left is not None
    now = ours.clock()
    by_descriptor = {carry.source.descriptor: carry.source for carry in carries}
    new = [Worker.adopt(found, ours=True, now=now) for found in made.workers]
    old = [
        Worker.adopt(found, ours=False, now=now, counts=by_descriptor.get(left.ledgers[found.ledger].descriptor))
        for found in left.workers
    ]
    ours.crew.workers += new + old
    ours.own.add(Field.WORKERS_STARTED, len(new))
    for carry in carries:
        carry.bring(someone.slot for someone in old if someone.counts is carry.source)
    ours.commons.listeners.listen()
    for someone in new:
        control.order(someone.orders, control.Begin())
    for someone in old:
        if not someone.asked:
            ours.crew.dismiss(someone, patience_of(ours.settings), now=False, grace=OLD_GRACE)
    ours.commons.listeners.keep(wanted(ours.settings))
    log.info(f"=== Upgrade Complete (#{left.number}) ===", version=__version__, before=left.version)
