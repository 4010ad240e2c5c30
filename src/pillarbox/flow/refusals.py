"""What is said of an address that takes no mail: to an SMTP client at RCPT, and in reports."""

from __future__ import annotations

from typing import NamedTuple

from .route import Refusal


class Refused(NamedTuple):
    """A reply of SMTP, in one line."""

    code: int
    enhanced: str
    text: str


# RFC 3463 has the meaning of the enhanced codes.
REFUSED: dict[Refusal, Refused] = {
    Refusal.UNKNOWN: Refused(550, "5.1.1", "Recipient address rejected: no such user here"),
    Refusal.NOT_OURS: Refused(550, "5.7.1", "Relay access denied"),
    Refusal.DISABLED: Refused(550, "5.2.1", "Mailbox disabled"),
    Refusal.NOBODY: Refused(450, "4.2.1", "Nobody has an account here yet who could read this"),
    Refusal.LOOP: Refused(550, "5.4.6", "The address is an alias that leads back to itself"),
    Refusal.FULL: Refused(452, "4.2.2", "Mailbox full"),
    Refusal.BAD_RETURN: Refused(550, "5.1.1", "This return address is not one of ours, or is too old"),
    Refusal.MAY_NOT_POST: Refused(550, "5.7.2", "You may not send to this list with this sender address"),
    Refusal.EMPTY_LIST: Refused(550, "5.2.4", "The list has no members"),
    Refusal.TOO_BIG: Refused(552, "5.2.2", "The message is larger than the mailbox may be"),
}
