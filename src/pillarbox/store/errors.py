"""What can go wrong in the store, in classes a caller can answer for.

`Temporary` and what is under it means "try again later" (SMTP 4xx, IMAP NO [UNAVAILABLE] or [OVERQUOTA] apart): nothing
was changed, nothing was half done. The others are answers about the request itself.
"""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of the store. By itself: an SQL error that nobody foresaw."""


class Temporary(StoreError):
    """Nothing was changed; the same request may succeed later."""


class Busy(Temporary):
    """Somebody else holds the lock: a writer waited its 60 s, or an inline read must go to a thread."""


class Full(Temporary):
    """The disk (or the database's quota on it) is full."""


class IoFault(Temporary):
    """The operating system refused a read, a write or a sync; the log has its words."""


class Away(IoFault):
    """The server of the database cannot be reached. The store has said so in the log, once for all who meet it."""


class Closed(Temporary):
    """The store is closing or closed."""


class Conflict(StoreError):
    """The name exists already, or the change contradicts what is there."""


class InUse(StoreError):
    """A server or a command has the store open, and it is wanted by one alone."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} is in use: stop the server (on every node) and wait for other commands to end")


class NotFound(StoreError):
    """No such user, mailbox, message or blob (any more)."""


class Invalid(StoreError):
    """The value can never be stored: a bad mailbox name, a bad address, a bad keyword."""


class Denied(StoreError):
    """The account has not the right to do that (RFC 4314)."""


class OverQuota(StoreError):
    """The account's quota does not allow it (RFC 9208, enhanced status 5.2.2)."""


class Corrupt(StoreError):
    """The database or a blob in it is damaged; `pillarbox check` says where."""
