"""What a server says it can do."""

from datetime import UTC, datetime
from functools import lru_cache

from pillarbox.smtp.offer import Limits, Offer
from pillarbox.smtp.replies import encode


@lru_cache(maxsize=64)
def hello_reply(hostname: str, limits: Limits, offer: Offer, tls: bool) -> bytes:
    """The answer to EHLO or LHLO: one line an extension."""
    lines = [hostname, f"SIZE {limits.message_size}", "8BITMIME", "PIPELINING"]  # RFC 1870, RFC 6152, RFC 2920
    if offer.smtputf8:
        lines.append("SMTPUTF8")  # RFC 6531
    if offer.chunking:
        lines += ["CHUNKING", "BINARYMIME"]  # RFC 3030
    if offer.dsn:
        lines.append("DSN")  # RFC 3461
    if offer.deliver_by:
        lines.append("DELIVERBY")  # RFC 2852
    if offer.hold_seconds:
        lines.append(f"FUTURERELEASE {offer.hold_seconds} {_date_time(offer.hold_until)}")  # RFC 4865
    if offer.priority:
        lines.append("MT-PRIORITY")  # RFC 6710
    lines.append("ENHANCEDSTATUSCODES")  # RFC 2034
    if offer.limits:
        lines.append("LIMITS" + _limits(limits))  # RFC 9422
    if offer.auth and (tls or offer.auth_in_clear):
        lines.append("AUTH " + " ".join(offer.auth))  # RFC 4954
    if offer.starttls and not tls:
        lines.append("STARTTLS")  # RFC 3207
    lines.append("HELP")
    return encode(250, None, lines)


def _date_time(epoch: int) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _limits(limits: Limits) -> str:
    most = f" MAILMAX={limits.messages}" if limits.messages else ""
    return f"{most} RCPTMAX={limits.recipients}"
