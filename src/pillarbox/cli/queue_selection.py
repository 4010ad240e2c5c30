"""Which entries of the queue a command means: ids, a filter, or --all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from pillarbox.cli.flags import UsageError
from pillarbox.cli.moments import span
from pillarbox.store import directory
from pillarbox.store.errors import NotFound
from pillarbox.store.queue import STATUSES
from pillarbox.store.records import QueueFilter
from pillarbox.store.tx import Tx

Ids = Annotated[list[str] | None, typer.Argument(help="Numbers of entries, or ids of messages.", metavar="ID")]
Status = Annotated[str | None, typer.Option(help=f"One of {', '.join(STATUSES)}, dead.")]
Sender = Annotated[str | None, typer.Option(help='The sender; "" is the null sender.')]
Recipient = Annotated[str | None, typer.Option(help="The recipient.")]
Domain = Annotated[str | None, typer.Option(help="The recipient's domain.")]
Destination = Annotated[str | None, typer.Option(help='The next hop, such as "mx example.org".')]
Account = Annotated[str | None, typer.Option(help="The account that submitted it.")]
OlderThan = Annotated[str | None, typer.Option(help="Accepted longer ago than 90s, 30m, 4h or 2d.", metavar="SPAN")]
Message = Annotated[str | None, typer.Option(help="The id of a message.")]
All = Annotated[bool, typer.Option("--all", help="The whole queue.")]


class Selection(msgspec.Struct):
    """What was given on a command line."""

    words: Sequence[str] | None = None
    status: str | None = None
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    destination: str | None = None
    account: str | None = None
    older_than: str | None = None
    message: str | None = None
    everything: bool = False

    def check(self, *, needed: bool) -> None:
        """Raises UsageError: a word that is no id, a bad status or span, or with `needed` nothing at all."""
        given = (self.status, self.sender, self.recipient, self.domain, self.destination, self.account)
        chosen = any(value is not None for value in (*given, self.older_than, self.message))
        if needed and not (self.words or chosen or self.everything):
            raise UsageError("Error: say which: ids, a filter such as --domain example.org, or --all")
        if self.everything and (self.words or chosen):
            raise UsageError("Error: --all and a choice exclude each other")
        if bad := [word for word in self.words or () if not word.isalnum() or (word.isdecimal() and len(word) > 18)]:
            hint = "; for an address there are --recipient and --sender" if "@" in bad[0] else ""
            raise UsageError(f"Error: {bad[0]} is no id of an entry or a message{hint}")
        if self.status is not None and self.status not in (*STATUSES, "dead"):
            raise UsageError(f"Error: --status is one of {', '.join(STATUSES)}, dead")
        if self.older_than is not None and span(self.older_than) is None:
            raise UsageError(f"Error: --older-than takes a span such as 90s, 30m, 4h or 2d, not {self.older_than}")

    def filters(self, tx: Tx) -> list[QueueFilter]:
        """One for all numbers, and one for each message. Raises NotFound for an account that is not there."""
        base = QueueFilter(
            status="failed" if self.status == "dead" else self.status,
            sender=self.sender,
            recipient=self.recipient,
            domain=self.domain.removeprefix("@") if self.domain is not None else None,
            destination=self.destination,
            user_id=self._user_id(tx),
            older_than=self._before(),
            message_key=self.message.upper() if self.message is not None else None,
        )
        if not self.words:
            return [base]
        numbers = tuple(int(word) for word in self.words if word.isdecimal())
        keys = [word.upper() for word in self.words if not word.isdecimal()]
        found = [msgspec.structs.replace(base, ids=numbers)] if numbers else []
        return found + [msgspec.structs.replace(base, message_key=key) for key in keys]

    def _user_id(self, tx: Tx) -> int | None:
        if self.account is None:
            return None
        found = directory.user(tx, self.account)
        if found is None:
            raise NotFound(f"no user {self.account}")
        return found.id

    def _before(self) -> int | None:
        seconds = span(self.older_than or "")
        return int(time.time()) - seconds if seconds is not None else None
