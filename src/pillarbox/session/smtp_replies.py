"""What the session says to SMTP and LMTP clients, beside what the core says by itself."""

from __future__ import annotations

from pillarbox.flow.refusals import REFUSED
from pillarbox.flow.route import Refusal
from pillarbox.smtp.replies import Reply

SERVER_FULL = Reply(421, "4.3.2", "Too many connections, try again later")
ADDRESS_FULL = Reply(421, "4.7.0", "Too many connections from your address, try again later")
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down, try again later")
MAINTENANCE = Reply(421, "4.3.2", "Service under maintenance, try again later")
CONNECTION_TIMEOUT = Reply(421, "4.4.2", "Connection timeout")
DATA_TIMEOUT = Reply(451, "4.4.2", "DATA timeout - message transfer took too long")
INTERNAL_ERROR = Reply(421, "4.3.0", "Internal server error")

RATE_LIMITED = Reply(450, "4.7.1", "Rate limit exceeded, try again later")
NO_ROOM = Reply(452, "4.3.1", "Insufficient system storage")
LOCAL_ERROR = Reply(451, "4.3.0", "Requested action aborted: local error in processing")
TOO_MANY_HOPS = Reply(554, "5.4.6", "Too many hops: the message goes round in circles")
FULL_FOR_GOOD = Reply(552, "5.2.2", "Mailbox full")
NO_MAILBOX = Reply(550, "5.1.3", "No account can have this address")
NO_TLS = Reply(454, "4.7.0", "TLS not available")

AUTH_FAILED = Reply(535, "5.7.8", "Authentication failed")
AUTH_TEMPORARY = Reply(454, "4.7.0", "Temporary authentication failure")
AUTH_SYNTAX = Reply(501, "5.5.2", "Cannot decode the response")
LOGGED_OUT = Reply(421, "4.7.0", "Your credentials have changed, closing")
AUTH_TOO_OFTEN = Reply(421, "4.7.0", "Too many authentication failures, closing")


def refused(refusal: Refusal, quota_full: str) -> Reply:
    """The answer to RCPT; `quota_full`: whether a full mailbox is "temporary" or "permanent"."""
    if refusal is Refusal.FULL and quota_full == "permanent":
        return FULL_FOR_GOOD
    return Reply(*REFUSED[refusal])


def outcome(error: str, quota_full: str) -> Reply:
    """The answer after the content: what the store said of a recipient. A mailbox in which this message had no room is
    as full as one that was full at RCPT, where nobody had said how large it is."""
    if error == Refusal.FULL.value:
        return refused(Refusal.FULL, quota_full)
    return _OUTCOMES.get(error, LOCAL_ERROR)


_OUTCOMES: dict[str, Reply] = {
    Refusal.TOO_BIG.value: Reply(*REFUSED[Refusal.TOO_BIG]),
    "no such user": Reply(550, "5.1.1", "Recipient address rejected: no such user here"),
    "mail loop": Reply(554, "5.4.6", "Mail loop: the message went through this address before"),
    "may not post": Reply(550, "5.7.2", "You may not send to this list with this sender address"),
    "list too large": Reply(554, "5.2.4", "The list reaches too many addresses"),
}
