"""What a report says to a person (RFC 3462 section 2: the first part, in words)."""

from __future__ import annotations

import re
from email.utils import formatdate
from textwrap import wrap
from typing import NamedTuple

WIDTH = 74  # columns
LONGEST = 900  # characters of words from outside: one word of it makes a line, indented, of at most 998 octets

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile("[\ud800-\udfff]")

# What each kind of report begins with: its subject, and what it says of the recipients that follow.
SUBJECTS = {
    "failed": "Undelivered Mail Returned to Sender",
    "delayed": "Delayed Mail (still being retried)",
    "delivered": "Successful Mail Delivery Report",
    "relayed": "Successful Mail Delivery Report",
    "expanded": "Successful Mail Delivery Report",
}
_INTRODUCTIONS = {
    "failed": "Your message could not be delivered to the recipients below. This is final, nothing more is tried.",
    "delayed": "Your message could not be delivered yet to the recipients below. It waits here and is tried again; "
    "you need not send it again.",
    "delivered": "Your message was delivered to:",
    "relayed": "Your message was handed to the next mail server of the recipients below.",
    "expanded": "Your message arrived at the address below, which stands for several others, and was passed on to "
    "them. You hear of those that fail, but of no more that arrive.",
}
_ORDER = ("failed", "delayed", "delivered", "relayed", "expanded")

# What we had just said when the server answered.
_AFTER = {
    "GREETING": "in its greeting",
    "HELLO": "when we said who we are",
    "STARTTLS": "when we asked for encryption",
    "AUTH": "when we logged in",
    "MAIL": "when it was told the sender",
    "RCPT": "when it was told this recipient",
    "DATA": "when it was offered the message",
    "END": "when it had the message",
}


class Told(NamedTuple):
    """One recipient in a report.

    `action` is "failed", "delayed", "delivered", "relayed" or "expanded" (RFC 3464 section 2.3.3), `status` an enhanced
    code such as 5.2.2, `reason` our words. Where a server decided: `host` is its name, `place` its address and port,
    `said` its reply with the code, `stage` that of the conversation. Times are in epoch seconds.
    """

    address: str
    action: str
    status: str
    reason: str
    orcpt: str = ""
    host: str = ""
    place: str = ""
    said: str = ""
    stage: str = ""
    last_attempt: float | None = None
    retry_until: float | None = None
    log_id: str = ""


def plain(text: str, most: int = LONGEST) -> str:
    """Text from outside in one line: whatever could end a line or a field is gone."""
    line = _SURROGATES.sub("?", _CONTROL.sub(" ", text)).strip()
    return line if len(line) <= most else line[: most - 4] + " ..."


def kind_of(recipients: list[Told]) -> str:
    """The action that names the report: the gravest."""
    actions = {told.action for told in recipients}
    return next(action for action in _ORDER if action in actions)


def words(recipients: list[Told], hostname: str, *, whole: bool) -> list[str]:
    """The lines of the text. `whole`: the message follows as a whole, else its header."""
    lines = [f"This is the mail server {hostname}.", ""]
    for action in _ORDER:
        mine = [told for told in recipients if told.action == action]
        if not mine:
            continue
        lines += [*wrap(_INTRODUCTIONS[action], WIDTH), ""]
        for told in mine:
            lines += [*_recipient(told), ""]
    lines.append("The message follows." if whole else "The header of the message follows.")
    return lines


def _recipient(told: Told) -> list[str]:
    name = f"  <{plain(told.address)}>"
    original = _original(told)
    if original:
        name += f" (sent to <{original}>)"
    lines = [name]
    if told.reason:
        lines += _indented(plain(told.reason), 4)
    if told.said:
        who = plain(told.host) or plain(told.place) or "The server"
        if told.host and told.place:
            who += f" ({plain(told.place)})"
        lines += _indented(f"{who} said {_AFTER.get(told.stage, '')}".rstrip() + ":", 4)
        lines += _indented(plain(told.said), 6)
    if told.retry_until is not None:
        lines += _indented(f"It is tried until {formatdate(told.retry_until, usegmt=True)}.", 4)
    return lines


def _original(told: Told) -> str:
    """The address the sender wrote, where that is another."""
    kind, _, address = told.orcpt.partition(";")
    if kind.lower() not in ("rfc822", "utf-8") or address.lower() == told.address.lower():
        return ""
    return plain(address)


def _indented(text: str, by: int) -> list[str]:
    return [" " * by + line for line in wrap(text, WIDTH - by, break_long_words=False, break_on_hyphens=False)]
