"""What the functions of one writer have looked up in the directory, as long as that stays the same.

Accounts, domains, routes and rules are read for each message and change hardly ever. Their version, which the
database's triggers raise, whoever changes them, is one read for all of it, and for all of a transaction that comes
before its first change. What was noted in a transaction that came to nothing is forgotten: the version that it stood
for comes again, with something else in it.
"""

from __future__ import annotations

from typing import Any

VERSION = "SELECT value FROM store_counters WHERE id = 3"
MOST = 10_000  # entries


class Remembered:
    """Belongs to one writer."""

    __slots__ = ("_changes", "_known", "_version")

    def __init__(self) -> None:
        self._version = -1
        self._changes = -1  # that the connection had made when the version was read
        self._known: dict[Any, Any] = {}

    def begin(self) -> None:
        """A transaction begins: others may have changed anything."""
        self._changes = -1

    def still(self, changes: int) -> dict[Any, Any] | None:
        """What is known, if the version was read in this transaction after as many changes; else None."""
        return self._known if changes == self._changes else None

    def at(self, version: int, changes: int = -1) -> dict[Any, Any]:
        """What is known of this version, to be read and added to."""
        if version != self._version or len(self._known) > MOST:
            self._version, self._known = version, {}
        self._changes = changes
        return self._known

    def forget(self) -> None:
        self._version, self._changes, self._known = -1, -1, {}
