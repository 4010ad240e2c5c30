"""Spans and moments as they are typed: 90s, 2h; how long ago, or a date."""

from __future__ import annotations

import re
import time
from datetime import datetime

from pillarbox.cli.flags import UsageError

_SPAN = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span(text: str) -> int | None:
    """Seconds of "90s", "30m", "4h", "2d" or "1w"; None when it is none of these."""
    given = _SPAN.fullmatch(text.strip().lower())
    return int(given[1]) * _UNITS[given[2]] if given else None


def moment(text: str) -> int:
    """Seconds since 1970 of "2h" (ago) or "2026-01-31 14:00" (of this machine's time zone); 0 for "".

    Raises UsageError.
    """
    if not text:
        return 0
    if (ago := span(text)) is not None:
        return int(time.time()) - ago
    try:
        at = datetime.fromisoformat(text.strip())
        return int((at if at.tzinfo else at.astimezone()).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(f"Error: {text} is no time: give 90m, 2h, 3d or a date such as 2026-01-31") from None
