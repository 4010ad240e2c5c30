"""MAIL parameters by which a submitter asks for a time or a rank: DELIVERBY, FUTURERELEASE, MT-PRIORITY.

Parsed without a clock: what is an absolute time stays one, what counts from now stays a number of seconds.
"""

import re
from datetime import datetime
from typing import NamedTuple

from pillarbox.smtp.offer import Offer
from pillarbox.smtp.replies import Refusal, Reply

_BY = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)", re.I)
_HOLD_FOR = re.compile(r"[1-9][0-9]{0,8}")
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.I
)
_PRIORITY = re.compile(r"-?[1-9]|0")


class Wishes(NamedTuple):
    """`deliver_by` in seconds from now, negative when it is late already; `deliver_mode` R or N, with T for a trace.
    `hold_for` in seconds from now or `hold_until` in seconds since 1970, never both. `priority` from -9 to 9."""

    deliver_by: int | None = None
    deliver_mode: str = ""
    hold_for: int | None = None
    hold_until: int | None = None
    priority: int | None = None


def keywords(offer: Offer) -> tuple[str, ...]:
    """The parameters of this kind that are offered."""
    found: tuple[str, ...] = ("BY",) if offer.deliver_by else ()
    found += ("HOLDFOR", "HOLDUNTIL") if offer.hold_seconds else ()
    return (*found, "MT-PRIORITY") if offer.priority else found


def parse_wishes(given: dict[str, str | None], offer: Offer) -> Wishes:
    """What the parameters of a MAIL say, those with `keywords` among them. Raises Refusal."""
    by, mode = _by(given["BY"]) if "BY" in given else (None, "")
    hold_for = _hold_for(given["HOLDFOR"], offer) if "HOLDFOR" in given else None
    hold_until = _hold_until(given["HOLDUNTIL"], offer) if "HOLDUNTIL" in given else None
    if hold_for is not None and hold_until is not None:
        raise _bad("HOLDFOR and HOLDUNTIL exclude each other")
    return Wishes(by, mode, hold_for, hold_until, _priority(given["MT-PRIORITY"]) if "MT-PRIORITY" in given else None)


def _by(value: str | None) -> tuple[int, str]:
    """RFC 2852 section 4."""
    match = _BY.fullmatch(value or "")
    if match is None:
        raise _bad("Syntax: BY=seconds;R or BY=seconds;N, with a T behind it for a trace")
    seconds, mode = int(match[1]), match[2].upper()
    if mode == "R" and seconds <= 0:
        raise _bad("BY with R needs more than 0 seconds")
    return seconds, mode + match[3].upper()


def _hold_for(value: str | None, offer: Offer) -> int:
    """RFC 4865 section 4."""
    if not _HOLD_FOR.fullmatch(value or ""):
        raise _bad("Syntax: HOLDFOR=seconds")
    seconds = int(value or "")
    if seconds > offer.hold_seconds:
        raise _bad(f"HOLDFOR is at most {offer.hold_seconds} seconds here")
    return seconds


def _hold_until(value: str | None, offer: Offer) -> int:
    if not _DATE_TIME.fullmatch(value or ""):
        raise _bad("Syntax: HOLDUNTIL=date-time such as 2026-01-31T08:00:00Z")
    try:
        at = int(datetime.fromisoformat((value or "").upper()).timestamp())
    except ValueError:
        raise _bad("HOLDUNTIL is no date and time") from None
    if at > offer.hold_until:
        raise _bad(f"HOLDUNTIL is at most {offer.hold_seconds} seconds from now here")
    return at


def _priority(value: str | None) -> int:
    """RFC 6710 section 4."""
    if not _PRIORITY.fullmatch(value or ""):
        raise _bad("Syntax: MT-PRIORITY=-9 to MT-PRIORITY=9")
    return int(value or "")


def _bad(text: str) -> Refusal:
    return Refusal(Reply(501, "5.5.4", text))
