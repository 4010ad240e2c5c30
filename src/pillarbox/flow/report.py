"""Delivery status notifications: what a sender is told of messages that were taken over (RFC 3461, 3462, 3464, 6533).

One renderer for all of them: what fails while a message is received, what the queue gives up, puts off or hands on.
"""

from __future__ import annotations

import re
from email.quoprimime import body_encode
from email.utils import formatdate
from ipaddress import ip_address
from typing import NamedTuple

from .report_text import SUBJECTS, Told, kind_of, plain, words

FULL_LIMIT = 64 * 1024  # octets up to which RET=FULL is honoured; a longer message comes back as its headers
_FIELD = 900  # characters of a field's value; a line has at most 998 octets (RFC 5322 section 2.1.1)
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class Reported(NamedTuple):
    """The message that is reported on. `head` is its beginning, `whole` whether that is all of it.

    `arrived` and `at`, the time of the report, in epoch seconds; `serial` tells the reports on one message apart.
    """

    message_id: str
    sender: str
    envid: str
    full: bool  # RET=FULL
    arrived: float
    head: bytes
    whole: bool
    at: float | None = None
    serial: str = ""


def render(message: Reported, recipients: list[Told], hostname: str) -> bytes:
    """The report as a message with CRLF line ends. The same arguments give the same octets."""
    kind = kind_of(recipients)
    # RFC 6533 section 4: only a report that names such addresses is a global one.
    internationalized = not all(told.address.isascii() and told.orcpt.isascii() for told in recipients)
    content, full = _returned(message, kind)
    boundary = _boundary(message, content)
    date = formatdate(message.arrived if message.at is None else message.at)
    status_type = "message/global-delivery-status" if internationalized else "message/delivery-status"
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: <{message.sender}>",
        f"Subject: {SUBJECTS[kind]}",
        f"Date: {date}",
        f"Message-ID: <{message.message_id}.{message.serial}report@{hostname}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 3.1.7
        "MIME-Version: 1.0",
        "Content-Type: multipart/report;",
        f"\treport-type={status_type.partition('/')[2]};",
        f'\tboundary="{boundary}"',
        *_eight_bit(internationalized or not content.isascii()),  # RFC 2045 section 6.4: as any of its parts
        "",
        f"--{boundary}",
        *_text(words(recipients, hostname, whole=full)),
        "",
        f"--{boundary}",
        f"Content-Type: {status_type}" + ("; charset=utf-8" if internationalized else ""),
        *_eight_bit(internationalized),
        "",
        f"Reporting-MTA: dns; {hostname}",
        *([f"Original-Envelope-Id: {_value(message.envid, internationalized)}"] if message.envid else []),
        f"Arrival-Date: {formatdate(message.arrived)}",
    ]
    for told in recipients:
        lines += ["", *_fields(told, internationalized)]
    lines += [
        "",
        f"--{boundary}",
        f"Content-Type: {_returned_type(content, full)}",
        *_eight_bit(not content.isascii()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + content + f"\r\n--{boundary}--\r\n".encode()


def _fields(told: Told, internationalized: bool) -> list[str]:
    """The fields of one recipient, RFC 3464 section 2.3."""

    def value(text: str) -> str:
        return _value(text, internationalized)

    lines = [f"Original-Recipient: {value(told.orcpt)}"] if told.orcpt else []
    kind = "utf-8" if internationalized else "rfc822"
    lines += [f"Final-Recipient: {kind}; {value(told.address)}"]
    lines += [f"Action: {told.action}", f"Status: {told.status}"]
    if told.host:
        lines.append(f"Remote-MTA: dns; {value(_name(told.host))}")
    if told.said:
        lines.append(f"Diagnostic-Code: smtp; {value(told.said)}")
    elif told.action in ("failed", "delayed") and told.reason:
        lines.append(f"Diagnostic-Code: X-Pillarbox; {value(told.reason)}")
    if told.last_attempt is not None:
        lines.append(f"Last-Attempt-Date: {formatdate(told.last_attempt)}")
    if told.log_id:
        lines.append(f"Final-Log-ID: {value(told.log_id)}")
    if told.retry_until is not None:
        lines.append(f"Will-Retry-Until: {formatdate(told.retry_until)}")
    return lines


def _name(host: str) -> str:
    """The name of an MTA: an address stands in brackets (RFC 3464 section 2.1.2)."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _value(text: str, internationalized: bool) -> str:
    """Text from outside as the value of a field."""
    line = plain(text, _FIELD)
    if not internationalized:
        line = line.encode("ascii", "replace").decode()
    while len(line.encode()) > _FIELD:  # octets count where characters have several
        line = line[: len(line) * 3 // 4]
    return line


def _eight_bit(found: bool) -> list[str]:
    return ["Content-Transfer-Encoding: 8bit"] if found else []


def _text(lines: list[str]) -> list[str]:
    """The part for people. Quoted-printable where it is not ASCII, so that no relay has to change it."""
    if all(line.isascii() for line in lines):
        return ["Content-Type: text/plain; charset=us-ascii", "", *lines]
    octets = "\n".join(lines).encode().decode("latin-1")  # body_encode takes octets as characters
    encoded = body_encode(octets, maxlinelen=76, eol="\r\n")
    return ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", encoded]


def _boundary(message: Reported, content: bytes) -> str:
    """ "=_" cannot stand in quoted-printable or base64 text, and the message is asked."""
    boundary = f"=_{message.message_id}_{message.serial}report"
    while boundary.encode() in content:
        boundary += "_"
    return boundary


def _returned(message: Reported, kind: str) -> tuple[bytes, bool]:
    """What comes back of the message, and whether that is all of it: only where it was asked for, is at hand, and is
    text, and only with a failure (RFC 3461 section 4.3)."""
    wanted = kind == "failed" and message.full and message.whole
    if wanted and len(message.head) <= FULL_LIMIT and not _BARE.search(message.head):
        return message.head, True
    end = message.head.find(b"\r\n\r\n")
    header = message.head[: end + 2] if end >= 0 else message.head[:FULL_LIMIT]
    return _BARE.sub(b" ", header), False


def _returned_type(content: bytes, full: bool) -> str:
    """A header with UTF-8 in it is no RFC 822 header (RFC 6533 section 5)."""
    header = content.partition(b"\r\n\r\n")[0]
    try:
        internationalized = not header.isascii() and bool(header.decode())
    except UnicodeDecodeError:
        internationalized = False
    if full:
        return "message/global" if internationalized else "message/rfc822"
    return "message/global-headers" if internationalized else "text/rfc822-headers"


__all__ = ["FULL_LIMIT", "Reported", "Told", "render"]
