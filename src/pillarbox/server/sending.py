"""The scheduler of a worker's queue, with the carrier that speaks SMTP for it."""

from __future__ import annotations

from pillarbox.config import Settings
from pillarbox.flow.local_delivery import LocalCarrier
from pillarbox.flow.sending.parts import Parts
from pillarbox.flow.sending.policy import policy_of
from pillarbox.flow.sending.scheduler import Scheduler
from pillarbox.flow.sending.senders import ForwardedSenders
from pillarbox.flow.sending.slots import Slots
from pillarbox.session.node import Node
from pillarbox.session.outgoing import carrier_of

from .preparation import worker_count


def siblings(settings: Settings) -> int:
    """Workers that send beside this one. Of other nodes, which a store on PostgreSQL may have, nothing is known."""
    return 0 if settings.among_nodes else worker_count(settings) - 1


def scheduler_of(node: Node) -> Scheduler:
    """By the settings of the moment."""
    policy = policy_of(lambda: node.settings)
    return Scheduler(
        Parts(
            store=node.store,
            carrier=LocalCarrier(carrier_of(node), node.store, lambda: node.settings.hostname),
            policy=policy,
            holder=node.owner,
            counters=node.slot,
            ids=node.ids,
            senders=ForwardedSenders(node.store, node.resolver, node.clock),
            slots=Slots(lambda: policy().connections, node.clock),
            clock=node.clock,
            siblings=siblings(node.settings),
        )
    )
