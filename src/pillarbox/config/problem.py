"""What can be wrong with a configuration, said so that the operator can mend it at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One error: where it stands, what stands there, what is allowed, what to do. `kind` is its name for scripts."""

    kind: str
    name: str
    value: str
    allowed: str
    source: str
    line: int | None = None
    fix: str = ""

    @property
    def where(self) -> str:
        return f"{self.source} line {self.line}" if self.line else self.source

    def __str__(self) -> str:
        got = f", got '{self.value}'" if self.value else ""
        fix = f". Fix: {self.fix}" if self.fix else ""
        return f"{self.name} must be {self.allowed}{got} ({self.where}){fix}"
