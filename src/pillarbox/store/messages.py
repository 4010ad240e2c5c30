"""Everything about messages in one place to import from; each file behind it has one of the ideas."""

from __future__ import annotations

from pillarbox.store.copying import copy, expunge, long_histories, move, settle, trim_history
from pillarbox.store.delivery import append, deliver
from pillarbox.store.flagging import store_flags
from pillarbox.store.flagging import unchanged as unchanged_flags
from pillarbox.store.records import Delivery, NewMessage, Outcome, Queued
from pillarbox.store.views import by_uid, changes, claim_recent, count_recent, deleted_size, listed, open_view, rendered

__all__ = [
    "Delivery",
    "NewMessage",
    "Outcome",
    "Queued",
    "append",
    "by_uid",
    "changes",
    "claim_recent",
    "copy",
    "count_recent",
    "deleted_size",
    "deliver",
    "expunge",
    "listed",
    "long_histories",
    "move",
    "open_view",
    "rendered",
    "settle",
    "store_flags",
    "trim_history",
    "unchanged_flags",
]
