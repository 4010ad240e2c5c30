"""The order of SORT (RFC 5256 section 3, RFC 5957, RFC 6203 section 5): criteria, and messages put in order by them.

What a message is sorted by is handed in as columns, one entry a message; nothing here reads a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pillarbox.imap.comparator import Comparator

TEXTS = frozenset({"CC", "FROM", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "ANNOTATION"})  # by a comparator
CRITERIA = TEXTS | {"ARRIVAL", "DATE", "SIZE", "RELEVANCY"}


@dataclass(slots=True, frozen=True)
class Criterion:
    """One sort key, a name of CRITERIA; `reverse` turns its order round. `annotation`: the entry of ANNOTATION, and
    whether everybody's (RFC 5257 section 4.9)."""

    name: str
    reverse: bool = False
    annotation: tuple[str, bool] | None = None

    @property
    def column(self) -> str:
        """What it compares is the column of this name."""
        return self.name if self.annotation is None else f"{self.name} {self.annotation[1]:d} {self.annotation[0]}"


def in_order(
    messages: Sequence[int], criteria: Sequence[Criterion], column: Callable[[str], Sequence[Any]]
) -> list[int]:
    """Positions in `messages` sorted: positions in the columns, in the order of the mailbox where all criteria tie.

    `column(name)` gives for each message, in mailbox order, what the criterion with that `column` compares. `messages`
    are the mailbox positions that belong to the entries of the columns, ascending. REVERSE does not turn ties round:
    they stay in the order of the mailbox (RFC 5256 section 3).
    """
    order = list(range(len(messages)))
    for criterion in reversed(criteria):  # sorting is stable: the last criterion first
        order.sort(key=column(criterion.column).__getitem__, reverse=criterion.reverse)
    return [messages[at] for at in order]


def display(name: str, mailbox: str, host: str) -> str:
    """What DISPLAYFROM and DISPLAYTO compare: the display name, else the address (RFC 5957 section 3)."""
    shown = " ".join(name.split())
    return shown or (f"{mailbox}@{host}" if host else mailbox)


def in_direction(criteria: Sequence[Criterion], comparator: Comparator) -> list[Criterion]:
    """The criteria as they are with a comparator that may turn the order of texts round."""
    return [replace(one, reverse=one.reverse != comparator.reverse) if one.name in TEXTS else one for one in criteria]
