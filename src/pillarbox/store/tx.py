"""The transaction a store function works on, whichever engine is below.

A store function is a plain function `fn(tx, ...)` that touches nothing but `tx`: it may be run again from the start
(its group failed because of another, or PostgreSQL saw a deadlock). SQL is written with `?` and is what both engines
understand; what they do not share is a method here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol


class Touched(NamedTuple):
    """Something changed: a mailbox, or the account itself when `mailbox_id` is 0.

    `DIRECTORY` says that the directory changed (users, passwords, domains, aliases, routes, lists): forget what was
    cached of it. `QUEUE` says that something in the queue is due, or will be.
    """

    user_id: int
    mailbox_id: int


DIRECTORY = Touched(0, 0)
QUEUE = Touched(0, -1)

Params = Sequence[Any]
Row = tuple[Any, ...]


class Tx(Protocol):
    """One transaction. Every method raises the classes of `errors`, never those of a driver."""

    @property
    def engine(self) -> Literal["sqlite", "postgresql"]: ...

    @property
    def now(self) -> int:
        """Seconds since 1970, the same for the whole transaction."""

    def row(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows."""

    def run(self, sql: str, params: Params = ()) -> int:
        """Execute; the number of rows it changed."""

    def insert(self, sql: str, params: Params = ()) -> int:
        """Execute an INSERT of one row (without RETURNING) into a table with an `id`; that id."""

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        """Execute once for each of `rows`."""

    def among(self, column: str, values: Sequence[int]) -> tuple[str, object]:
        """A condition "column is one of values" with one placeholder, and the parameter for it.

        For one value, and for up to some hundreds, the text is always the same, so that the prepared statement is found
        again.
        """

    def touch(self, user_id: int, mailbox_id: int) -> None:
        """Tell watchers, after the commit, that this mailbox (or with 0 the account) changed."""

    def next_modseq(self, user_id: int) -> int:
        """Draw the account's next modification number. Raises NotFound. Locks the account on PostgreSQL."""

    def lock(self, user_ids: Iterable[int]) -> None:
        """Hold these accounts against other writers until the end (nothing to do on SQLite: one writer at a time)."""

    def locking(self, clause: str) -> str:
        """Put behind a SELECT: `clause` ("FOR UPDATE ...") on PostgreSQL, nothing on SQLite: one writer at a time."""

    def heavy(self, rows: int = 0, octets: int = 0) -> None:
        """Announce what is about to be read: over 200 rows or 64 KiB an inline read moves to a thread."""

    def remembered(self) -> dict[Any, Any]:
        """What functions have noted of the directory (`DIRECTORY`), by keys of theirs: gone as soon as that changes.

        To be asked for in every function anew; not used on after changing the directory itself.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """`with tx.savepoint():` undoes what was done inside when an exception leaves it."""
