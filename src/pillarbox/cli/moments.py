"""A moment as it is typed: how long ago, or a date."""

from __future__ import annotations

import re
import time
from datetime import datetime

from pillarbox.cli.flags import UsageError

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str) -> int:
    """Seconds since 1970 of "2h" (ago) or "2026-01-31 14:00" (of this machine's time zone); 0 for "".

    Raises UsageError.
    """
    if not text:
        return 0
    if span := _SPAN.fullmatch(text.strip().lower()):
        return int(time.time()) - int(span[1]) * _UNITS[span[2]]
    try:
        at = datetime.fromisoformat(text.strip())
        return int((at if at.tzinfo else at.astimezone()).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(f"Error: {text} is no time: give 90m, 2h, 3d or a date such as 2026-01-31") from None
