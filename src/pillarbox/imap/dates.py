"""Dates of IMAP: `date` of SEARCH, `date-time` of APPEND, INTERNALDATE as it is rendered (RFC 9051 section 9).

Moments are whole seconds since 1970-01-01 UTC, days are days since then. No clock is read here.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_EPOCH = date(1970, 1, 1).toordinal()

_DATE = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\Z")
_DATE_TIME = re.compile(
    rb"( [0-9]|[0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})\Z"
)


def _days(day: bytes, month: bytes, year: bytes) -> int | None:
    try:
        return date(int(year), _MONTH[month.lower()], int(day)).toordinal() - _EPOCH
    except (ValueError, KeyError):
        return None


def parse_date(text: bytes) -> int | None:
    """`1-Feb-1994` -> days since 1970-01-01; None when there is no such day."""
    found = _DATE.match(text)
    return _days(*found.groups()) if found else None


def parse_date_time(text: bytes) -> int | None:
    """`17-Jul-1996 02:44:25 -0700` (without quotes) -> seconds since 1970 UTC; None when there is no such moment."""
    found = _DATE_TIME.match(text)
    if found is None:
        return None
    days = _days(found[1].strip(), found[2], found[3])
    hour, minute, second, zone_hour, zone_minute = (int(found[n]) for n in (4, 5, 6, 8, 9))
    if days is None or hour > 23 or minute > 59 or second > 60 or zone_minute > 59:  # 60: a leap second
        return None
    offset = (zone_hour * 60 + zone_minute) * 60
    seconds = days * 86400 + hour * 3600 + minute * 60 + second
    return seconds + offset if found[7] == b"-" else seconds - offset


@lru_cache(maxsize=1024)
def _day_text(days: int) -> bytes:
    try:
        day = date.fromordinal(days + _EPOCH)
    except (ValueError, OverflowError):  # outside the years 1 to 9999
        day = date(1970, 1, 1)
    return b'"%2d-%b-%04d ' % (day.day, _MONTHS[day.month - 1], day.year)


def internal_date(moment: int) -> bytes:
    """`"17-Jul-1996 09:44:25 +0000"` with its quotes; always in UTC, as the store keeps it."""
    days, second = divmod(moment, 86400)
    minute, second = divmod(second, 60)
    return b'%b%02d:%02d:%02d +0000"' % (_day_text(days), minute // 60, minute % 60, second)
