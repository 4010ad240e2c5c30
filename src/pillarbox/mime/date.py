"""Dates of header fields (RFC 5322 section 3.3, the obsolete forms of 4.3, and what else is seen)."""

from __future__ import annotations

import re
from datetime import date

_MONTHS = {name: i for i, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_ZONES = {  # minutes east of UTC, RFC 5322 section 4.3
    b"est": -300, b"edt": -240, b"cst": -360, b"cdt": -300, b"mst": -420, b"mdt": -360, b"pst": -480, b"pdt": -420,
    b"cet": 60, b"cest": 120, b"met": 60, b"bst": 60, b"jst": 540, b"msk": 180,
}  # fmt: skip
_EPOCH = date(1970, 1, 1).toordinal()
_TIME = rb"(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2}))?"
_ZONE = rb"(?:[ \t]*(?:(?:GMT|UTC?)?([+-])(\d{2}):?(\d{2})|([A-Za-z]{1,5})))?"
_RFC = re.compile(rb"\b(\d{1,2})[ \t.-]{1,8}([A-Za-z]{3})[a-z]*[ \t.,-]{1,8}(\d{2,4})[ \t,]{1,8}" + _TIME + _ZONE)
_ASCTIME = re.compile(
    rb"\b([A-Za-z]{3})[ \t]{1,8}(\d{1,2})[ \t]{1,8}" + _TIME + rb"[ \t]{1,8}(?:[A-Z]{3,4}[ \t])?(\d{4})\b"
)
_ISO = re.compile(rb"\b(\d{4})-(\d{2})-(\d{2})[T \t]" + _TIME + rb"(?:[.]\d{1,9})?" + _ZONE)
_COMMENT = re.compile(rb"\([^()]*+\)")
_FOLD = re.compile(rb"\s++")


def parse_date(value: bytes) -> tuple[int, int] | None:
    """Seconds since 1970 (UTC) and the sender's zone in minutes east of UTC; None when it is no date.

    A zone that is absent or unknown counts as UTC (RFC 5322 section 4.3).
    """
    value = value[:256]
    match = _RFC.search(value)
    if match is None and (b"(" in value or b"\n" in value):
        while (shorter := _COMMENT.sub(b" ", value)) != value:  # from the innermost outwards
            value = shorter
        value = _FOLD.sub(b" ", value)
        match = _RFC.search(value)
    if match is not None:
        day, month, year, hour, minute, second, *zone = match.groups()
        return _instant(_year(year), _MONTHS.get(month.lower(), 0), day, hour, minute, second, _offset(*zone))
    match = _ASCTIME.search(value)
    if match is not None:
        month, day, hour, minute, second, year = match.groups()
        return _instant(int(year), _MONTHS.get(month.lower(), 0), day, hour, minute, second, 0)
    match = _ISO.search(value)
    if match is not None:
        year, month, day, hour, minute, second, *zone = match.groups()
        return _instant(int(year), int(month), day, hour, minute, second, _offset(*zone))
    return None


def _year(digits: bytes) -> int:
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _offset(sign: bytes | None, hours: bytes | None, minutes: bytes | None, name: bytes | None) -> int:
    if sign is not None and hours is not None and minutes is not None:
        offset = int(hours) * 60 + int(minutes)
        return -offset if sign == b"-" else offset
    return _ZONES.get(name.lower(), 0) if name is not None else 0


def _instant(
    year: int, month: int, day: bytes, hour: bytes, minute: bytes, second: bytes | None, offset: int
) -> tuple[int, int] | None:
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    try:
        days = date(year, month, int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    return days * 86400 + hours * 3600 + (minutes - offset) * 60 + seconds, offset
