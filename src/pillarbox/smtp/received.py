"""The trace fields that a server puts in front of a message: Received and Return-Path (RFC 5321 section 4.4)."""

import time
from functools import lru_cache
from ipaddress import ip_address

from msgspec import Struct

from pillarbox.smtp.address import AddressError, Path, parse_domain

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FOLD_AT = 78  # RFC 5322 section 2.1.1


class Trace(Struct, frozen=True):
    """How a message came.

    `helo` is what the client called itself, `address` its IP address ("" for a local socket), `host` its name by
    reverse lookup ("" unknown). `protocol` is what `with_protocol` gives. `message_id` is the server's own id of the
    message (an atom). `tls` is a remark on the encryption, `TLSv1.3 TLS_AES_256_GCM_SHA384`. `epoch` is in seconds.
    Without `helo` and `address` it is not said where the message came from, for the privacy of a submitter.
    """

    helo: str
    address: str
    by: str
    protocol: str
    message_id: str
    epoch: float
    host: str = ""
    tls: str = ""


def with_protocol(*, esmtp: bool, lmtp: bool = False, tls: bool = False, auth: bool = False, utf8: bool = False) -> str:
    """The `with` keyword: RFC 3848, for SMTPUTF8 RFC 6531 section 4.3."""
    if not (esmtp or lmtp):
        return "SMTP"
    security = ("S" if tls else "") + ("A" if auth else "")
    if utf8:
        return f"UTF8{'LMTP' if lmtp else 'SMTP'}{security}"
    return f"{'LMTP' if lmtp else 'ESMTP'}{security}"


def received(trace: Trace, recipient: Path | None = None) -> bytes:
    """The Received field, folded, with CRLF. Give `recipient` only when the transaction has a single one: `for` would
    tell the others who else got the message (RFC 5321 section 7.6)."""
    words = [f"Received: by {trace.by}"]
    if trace.helo or trace.address:
        words = [f"Received: from {_from(trace.helo, trace.address, trace.host)}", f"by {trace.by}"]
    words.append(f"with {trace.protocol}")
    if trace.tls:
        words.append(f"({_comment(trace.tls)})")
    words.append(f"id {trace.message_id}")
    if recipient is not None:
        words.append(f"for <{recipient.address}>")
    return _folded(words, f"; {rfc5322_date(trace.epoch)}").encode()


def local_received(by: str, uid: int, message_id: str, epoch: float) -> bytes:
    """The Received field of a message that a program of this machine left with us, not by SMTP."""
    return _folded(
        [f"Received: by {by} (Pillarbox, from uid {uid})", f"id {message_id}"], f"; {rfc5322_date(epoch)}"
    ).encode()


def rfc5322_date(epoch: float) -> str:
    """`Fri, 21 Nov 2025 23:20:00 +0000`; always UTC, never by the locale."""
    return _date(int(epoch))


@lru_cache(maxsize=16)
def _date(epoch: int) -> str:
    at = time.gmtime(epoch)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
    )


@lru_cache(maxsize=256)  # the same peers come again
def _from(helo: str, address: str, host: str) -> str:
    """Extended-Domain: a name with TCP-info. What the client called itself stands first if it is a domain, else in a
    comment, since anything else would be no trace field."""
    literal = _literal(address)
    info = f"{host} {literal}" if host and literal else literal
    try:
        parse_domain(helo)
    except AddressError:
        named = _comment(helo)
        return f"{literal or 'localhost'} (HELO {named})" if named else literal or "localhost"
    return f"{helo} ({info})" if info else helo


def _literal(address: str) -> str:
    if not address:
        return ""
    try:
        ip = ip_address(address)
    except ValueError:
        return ""
    return f"[IPv6:{ip}]" if ip.version == 6 else f"[{ip}]"


def _comment(text: str) -> str:
    """Text that may stand in a comment: no parentheses, backslashes or control characters."""
    return " ".join("".join(char if " " <= char <= "~" and char not in "()\\" else "?" for char in text).split())


def _folded(words: list[str], end: str) -> str:
    """The words on lines of at most 78 octets where that can be, `end` behind the last."""
    lines, line = [], ""
    for word in words:
        if line and len(line) + 1 + len(word) > _FOLD_AT:
            lines.append(line)
            line = f"\t{word}"
        else:
            line = f"{line} {word}" if line else word
    if len(line) + len(end) > _FOLD_AT:
        lines.append(line + ";")
        line = "\t" + end.removeprefix("; ")
    else:
        line += end
    return "\r\n".join([*lines, line]) + "\r\n"
