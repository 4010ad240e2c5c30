"""How much a client may get wrong before the connection ends."""

from pillarbox.smtp import replies
from pillarbox.smtp.offer import Limits
from pillarbox.smtp.replies import Reply


class Patience:
    """Counts against `Limits`. Each method counts one and gives the parting reply when it was one too many."""

    __slots__ = ("_empty", "_errors", "_excess", "_limits", "_messages", "_refusals")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._errors = self._refusals = self._excess = self._empty = self._messages = 0

    def renew(self) -> None:
        """A message was accepted: the client does know its trade. Messages go on being counted."""
        self._errors = self._refusals = self._excess = self._empty = 0

    def error(self) -> Reply | None:
        self._errors += 1
        return replies.TOO_MANY_ERRORS if self._errors >= self._limits.errors else None

    def refusal(self) -> Reply | None:
        self._refusals += 1
        return replies.TOO_MANY_REFUSALS if self._refusals >= self._limits.refusals else None

    def excess(self) -> Reply | None:
        self._excess += 1
        return replies.TOO_MANY_REFUSALS if self._excess >= self._limits.excess else None

    def empty(self) -> Reply | None:
        self._empty += 1
        return replies.TOO_MANY_EMPTY if self._empty > self._limits.empty_commands else None

    def message(self) -> Reply | None:
        self._messages += 1
        return replies.TOO_MANY_MESSAGES if 0 < self._limits.messages < self._messages else None
