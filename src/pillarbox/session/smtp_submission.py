"""Submission (RFC 6409) beside what SMTP is anyway: who an account says it is, when and how urgently, its header."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pillarbox.access.authenticate import Identity
from pillarbox.access.senders import Standing
from pillarbox.config import Settings
from pillarbox.flow.allowance import Allowance, Held, Limit, OverLimit
from pillarbox.flow.memory import MemoryBudget
from pillarbox.flow.submission import HEADER_LIMIT, Fault, Mender
from pillarbox.smtp.address import Path
from pillarbox.smtp.events import Mail
from pillarbox.smtp.replies import Reply

from . import smtp_replies as say

FREE = 4096  # octets of a header that nobody counts
_WRITTEN = '"Ada (home)" <ada@example.com>: signs such as @ [ ( , : in a name need the quotes'
_FAULTS = {
    Fault.HEADER_TOO_LARGE: Reply(552, "5.3.4", f"The header of the message is larger than {HEADER_LIMIT} octets"),
    Fault.BAD_HEADER: Reply(554, "5.6.0", "The header has a bare CR or LF or a NUL: its lines end with CRLF"),
    Fault.NO_HEADER: Reply(
        554,
        "5.6.0",
        "The message begins with a line that is no header field: begin with fields such as Subject:, or, "
        "where all of it is text, with an empty line",
    ),
    Fault.NO_FIELD: Reply(554, "5.6.0", "The header has a line that is no field: an empty line ends the header"),
    Fault.BAD_FROM: Reply(554, "5.6.0", f"From must be a list of addresses with domains, such as {_WRITTEN}"),
    Fault.MANY_FROM: Reply(554, "5.6.0", "The header has more than one From: send it with one"),
    Fault.BAD_SENDER: Reply(554, "5.6.0", f"Sender must be one address with a domain, such as {_WRITTEN}"),
}
_TIMES = {
    Limit.MESSAGES_PER_HOUR: "messages in an hour",
    Limit.MESSAGES_PER_DAY: "messages in a day",
    Limit.RECIPIENTS_PER_HOUR: "recipients in an hour",
    Limit.RECIPIENTS_PER_DAY: "recipients in a day",
}


class Asked(NamedTuple):
    """What the client asked of delivery, in times of the clock: for the envelope. `lowered`: by our policy."""

    priority: int = 0
    not_before: int | None = None
    deliver_by: int | None = None
    deliver_mode: str = ""
    lowered: bool = False

    @property
    def reply(self) -> Reply | None:
        """The success for the MAIL, None for the usual one. RFC 6710 section 4.1: a lowered priority is to be told."""
        return Reply(250, "2.3.6", f"{self.priority} is the new priority") if self.lowered else None


NOTHING = Asked()


def asked(mail: Mail, settings: Settings, now: float) -> Asked | Reply:
    """What MAIL says, or why it is refused."""
    wishes = mail.wishes
    if wishes is None:
        return NOTHING
    not_before = wishes.hold_until
    if not_before is not None and not_before < now:
        return Reply(501, "5.5.4", "HOLDUNTIL is in the past")
    if wishes.hold_for is not None:
        not_before = int(now) + wishes.hold_for
    deliver_by = None if wishes.deliver_by is None else int(now) + wishes.deliver_by
    if not_before is not None and deliver_by is not None and deliver_by <= not_before:
        return Reply(501, "5.5.4", "BY is over before the message is released")
    wanted = wishes.priority or 0
    priority = min(wanted, settings.submission_max_priority)
    return Asked(priority, not_before, deliver_by, wishes.deliver_mode, priority < wanted)


class Submission:
    """One message of an account, or with `strict` False of a program on this machine. `author` is who it is from when
    it does not say so itself. `refusal` says why it is refused, once that is known."""

    __slots__ = ("_counted", "_memory", "_mender", "asked", "refusal")

    def __init__(
        self,
        author: str,
        asked: Asked,
        message_id: str,
        hostname: str,
        now: float,
        memory: MemoryBudget,
        *,
        strict: bool = True,
    ) -> None:
        self._mender = Mender(author, message_id, hostname, now, strict=strict)
        self._memory = memory
        self._counted = 0  # octets of the budget
        self.asked = asked
        self.refusal: Reply | None = None

    @property
    def authors(self) -> list[Path]:
        """Who the message says it is from, when it is complete."""
        return self._mender.authors

    @property
    def message_id(self) -> bytes:
        """The raw value of the header's Message-ID, when the message is complete."""
        return self._mender.message_id

    def feed(self, data: bytes) -> bytes:
        """The next octets of the content; what is for the spool."""
        return self._count(self._mender.feed(data))

    def finish(self) -> bytes:
        """The rest for the spool."""
        return self._count(self._mender.finish())

    def close(self) -> None:
        """Give back what is held. The message may go on, with what it was."""
        if self._counted:
            self._memory.release(self._counted)
            self._counted = 0

    def _count(self, out: bytes) -> bytes:
        """Keep the budget right: a header that is not whole waits here."""
        fault = self._mender.fault
        if fault is not None:
            self.refusal = self.refusal or _FAULTS[fault]
        more = self._mender.held - self._counted
        if self._mender.held <= FREE or fault is not None:
            self.close()
        elif more > 0 and self.refusal is None:
            if self._memory.take(more):
                self._counted += more
            else:
                self.refusal = say.NO_ROOM
        return out if self.refusal is None else b""


def refused_sender(found: Standing, mail: Mail, identity: Identity) -> Reply | None:
    """The answer to a MAIL, by how the account stands; None when it may."""
    if found.held is not None:
        return held(found.held)
    if found.stranger is None:
        return None
    return Reply(553, "5.7.1", _not_yours(mail.sender.address, identity))


def refused_author(found: Standing, authors: list[Path], identity: Identity) -> Reply | None:
    """The answer to a message, by who it says it is from; None when the account may say so."""
    if found.held is not None:
        return held(found.held)
    if found.stranger is None:
        return None
    return Reply(550, "5.7.1", f"From or Sender: {_not_yours(authors[found.stranger].address, identity)}")


def _not_yours(address: str, identity: Identity) -> str:
    return (
        f"<{address}> is not an address of {identity.username}: send as <{identity.email}>, "
        "or ask the postmaster to grant you that address"
    )


def held(reason: str) -> Reply:
    """The account may send nothing."""
    why = f" ({reason})" if reason else ""
    return Reply(450, "4.7.1", f"Your account cannot send mail for now{why}: ask the postmaster to release it")


def refused_by_limit(error: Held | OverLimit, now: float) -> Reply:
    """The answer to a message that the account may not send, or not yet."""
    if isinstance(error, Held):
        return held(error.reason)
    what = _TIMES[error.limit]
    if error.until is None:
        return Reply(550, "5.7.1", f"You may send to at most {error.most} {what}: this is more at once")
    minutes = max(1, -int((now - error.until) // 60))
    wait = f"{minutes} minutes" if minutes < 120 else f"{-(-minutes // 60)} hours"
    return Reply(450, "4.7.1", f"You may send at most {error.most} {what}: try again in {wait}")


@lru_cache(maxsize=8)
def allowance(settings: Settings) -> Allowance:
    """The limits of every account."""
    return Allowance(
        settings.messages_per_hour,
        settings.messages_per_day,
        settings.recipients_per_hour,
        settings.recipients_per_day,
        settings.new_recipients_per_hour,
    )
