"""The one place that talks SQL and keeps bytes.

Engines (SQLite, PostgreSQL), migrations, blobs, mailboxes, directory, queue, routes. Functions over a transaction;
imports no protocol, only `mime` for what is computed once at delivery. Must not know: sessions, replies, settings'
sources.

    store = await open_store("/var/lib/smtp-server/smtp.db")
    outcomes = await store.write(messages.deliver, message, plans)     # after the durable commit
    found = await store.read(mailboxes.find, user_id, "INBOX")         # at once, by key
    view = await store.read(messages.open_view, found.id)              # moves to a thread when it is large
"""

from __future__ import annotations

from pillarbox.store.errors import (
    Away,
    Busy,
    Closed,
    Conflict,
    Corrupt,
    Full,
    InUse,
    Invalid,
    IoFault,
    NotFound,
    OverQuota,
    StoreError,
    Temporary,
)
from pillarbox.store.opening import check_store, migrate, open_store, truncate_wal
from pillarbox.store.store import Store
from pillarbox.store.tx import DIRECTORY, QUEUE, Touched, Tx

__all__ = [
    "DIRECTORY",
    "QUEUE",
    "Away",
    "Busy",
    "Closed",
    "Conflict",
    "Corrupt",
    "Full",
    "InUse",
    "Invalid",
    "IoFault",
    "NotFound",
    "OverQuota",
    "Store",
    "StoreError",
    "Temporary",
    "Touched",
    "Tx",
    "check_store",
    "migrate",
    "open_store",
    "truncate_wal",
]
