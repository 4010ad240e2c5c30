"""Mail that the server itself writes to people: the header they have in common, and how it is stored."""

from __future__ import annotations

from email.utils import formatdate

from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs
from pillarbox.store.records import NewMessage


def render(to: str, subject: str, name: str, hostname: str, now: int, *lines: str) -> bytes:
    """A message of these lines; `name` is the left half of its Message-ID, in ASCII."""
    text = "".join(f"{line}\r\n" for line in lines)
    header = [
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: <{to}>",
        f"Subject: {subject}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{name}@{hostname}>",
        "Auto-Submitted: auto-generated",  # RFC 3834 section 5
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {'7bit' if text.isascii() else '8bit'}",
        "",
    ]
    return ("".join(f"{line}\r\n" for line in header) + text).encode()


def new_message(content: bytes) -> NewMessage:
    """What `delivery` and `messages` take, of a message in memory."""
    return NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
