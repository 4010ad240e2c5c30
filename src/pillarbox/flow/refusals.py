"""What is said of an address that takes no mail: to an SMTP client at RCPT, and in reports.

RFC 3463 has the meaning of the enhanced codes.
"""

from __future__ import annotations

from typing import NamedTuple

from .route import Refusal


class Refused(NamedTuple):
    """A reply of SMTP, in one line."""

    code: int
    enhanced: str
    text: str


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


class Failure(NamedTuple):
    """What a report says, where a message could not be delivered after all."""

    status: str
    reason: str


LIST_TOO_LARGE = "list too large"

# By the word of the error: of the store, or of a plan that was refused.
FAILURES: dict[str, Failure] = {
    Refusal.FULL.value: Failure("5.2.2", "the mailbox is full"),
    Refusal.TOO_BIG.value: Failure("5.2.2", "the message is larger than the mailbox may be"),
    "no such user": Failure("5.1.1", "the mailbox does not exist any more"),
    Refusal.UNKNOWN.value: Failure("5.1.1", "there is no such user here"),
    Refusal.DISABLED.value: Failure("5.2.1", "the account is disabled"),
    "mail loop": Failure("5.4.6", "the message went through this address before"),
    Refusal.LOOP.value: Failure("5.4.6", "the address is an alias that leads back to itself"),
    Refusal.EMPTY_LIST.value: Failure("5.2.4", "the list has no members"),
    Refusal.MAY_NOT_POST.value: Failure("5.7.2", "you may not send to this list"),
    LIST_TOO_LARGE: Failure("5.2.4", "the list reaches too many addresses"),
}
