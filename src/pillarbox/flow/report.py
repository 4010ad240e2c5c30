"""Delivery status notifications: what a sender is told of messages that were taken over (RFC 3461, 3462, 3464)."""

from __future__ import annotations

from email.utils import formatdate
from typing import NamedTuple

FULL_LIMIT = 64 * 1024  # octets up to which RET=FULL is honoured; a longer message comes back as its headers


class Told(NamedTuple):
    """One recipient in a report. `action` is "failed" or "delivered"; `status` an enhanced code such as 5.2.2."""

    address: str
    action: str
    status: str
    reason: str
    orcpt: str = ""


class Reported(NamedTuple):
    """The message that is reported on. `head` is its beginning, `whole` whether that is all of it."""

    message_id: str
    sender: str
    envid: str
    full: bool  # RET=FULL
    arrived: float  # epoch seconds
    head: bytes
    whole: bool


def render(message: Reported, recipients: list[Told], hostname: str) -> bytes:
    """The report as a message with CRLF line ends. The same arguments give the same octets."""
    failed = any(told.action == "failed" for told in recipients)
    ascii_only = all(told.address.isascii() and told.orcpt.isascii() for told in recipients)
    boundary = f"=_{message.message_id}_report"  # "=_" cannot stand in quoted-printable or base64 text
    subject = "Undelivered Mail Returned to Sender" if failed else "Successful Mail Delivery Report"
    date = formatdate(message.arrived)
    status_type = "message/delivery-status" if ascii_only else "message/global-delivery-status"  # RFC 6533 section 4
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: <{message.sender}>",
        f"Subject: {subject}",
        f"Date: {date}",
        f"Message-ID: <{message.message_id}.report@{hostname}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 3.1.7
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={status_type.partition("/")[2]}; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        f"This is the mail server {hostname}.",
        "",
        "Your message could not be delivered to:" if failed else "Your message was delivered to:",
        "",
        *(f"  <{told.address}>: {told.reason}" for told in recipients),
        "",
        f"--{boundary}",
        f"Content-Type: {status_type}" + ("" if ascii_only else "; charset=utf-8"),
        *([] if ascii_only else ["Content-Transfer-Encoding: 8bit"]),
        "",
        f"Reporting-MTA: dns; {hostname}",
        *([f"Original-Envelope-Id: {message.envid}"] if message.envid else []),
        f"Arrival-Date: {date}",
    ]
    kind = "rfc822" if ascii_only else "utf-8"
    for told in recipients:
        lines.append("")
        if told.orcpt:
            lines.append(f"Original-Recipient: {told.orcpt}")
        lines += [f"Final-Recipient: {kind}; {told.address}", f"Action: {told.action}", f"Status: {told.status}"]
        if told.action == "failed":
            lines.append(f"Diagnostic-Code: X-Pillarbox; {told.reason}")
    content = _returned(message)
    full = content is message.head
    lines += [
        "",
        f"--{boundary}",
        "Content-Type: message/rfc822" if full else "Content-Type: text/rfc822-headers",
        *([] if content.isascii() else ["Content-Transfer-Encoding: 8bit"]),
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + content + f"\r\n--{boundary}--\r\n".encode()


def _returned(message: Reported) -> bytes:
    """All of the message, or its header."""
    if message.full and message.whole and len(message.head) <= FULL_LIMIT and b"\0" not in message.head:
        return message.head
    end = message.head.find(b"\r\n\r\n")
    return message.head[: end + 2] if end >= 0 else message.head[:FULL_LIMIT]
