"""Messages and plans for the tests of the store, and the clock."""

from __future__ import annotations

from clock import START, Clock
from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, blobs, mailboxes
from pillarbox.store.records import Delivery, Mailbox, NewMessage, User

__all__ = ["START", "Clock", "inbox_of", "message", "raw_message", "to"]


def message(subject: str = "hello", body: str = "text\r\n") -> NewMessage:
    """A small message ready to be delivered."""
    raw = raw_message(subject, body)
    return NewMessage(blobs.pack(raw), None, analyse(raw))


def raw_message(subject: str = "hello", body: str = "text\r\n") -> bytes:
    return f"From: a@example.org\r\nTo: b@example.com\r\nSubject: {subject}\r\n\r\n{body}".encode()


def to(user: User, mailbox: str = "INBOX", **more: object) -> Delivery:
    return Delivery(user.email, user.id, mailbox, **more)  # type: ignore[arg-type]


async def inbox_of(store: Store, user: User) -> Mailbox:
    found = await store.read(mailboxes.find, user.id, "INBOX")
    assert found is not None
    return found
