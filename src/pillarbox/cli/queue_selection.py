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
from pillarbox.store.queue import STATUSES, find_ids
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
        """Raises UsageError with all that is wrong: a word that is no id, a bad status or span, an empty value, or with
        `needed` nothing at all."""
        problems: list[str] = []
        chosen = self.filtered
        if needed and not (self.words or chosen or self.everything):
            problems.append("say which: ids, a filter such as --domain example.org, or --all")
        if self.everything and (self.words or chosen):
            problems.append("--all and a choice exclude each other")
        for word in self.words or ():
            if not (word.isascii() and word.isalnum()) or (word.isdecimal() and len(word) > 18):
                hint = "; for an address there are --recipient and --sender" if "@" in word else ""
                problems.append(f"{word or repr(word)} is no id of an entry or a message{hint}")
        if self.status is not None and self.status not in (*STATUSES, "dead"):
            problems.append(f"--status is one of {', '.join(STATUSES)}, dead, not {self.status or 'empty'}")
        if self.older_than is not None and span(self.older_than) is None:
            wrong = self.older_than or "nothing"
            problems.append(f"--older-than takes a span such as 90s, 30m, 4h or 2d, not {wrong}")
        for name in ("recipient", "domain", "destination", "account", "message"):
            value = getattr(self, name)
            if value is not None and not value.strip("@ "):
                problems.append(f"--{name} needs a value")
        if problems:
            raise UsageError("\n".join(f"Error: {problem}" for problem in problems))

    @property
    def filtered(self) -> bool:
        """Whether there is a filter."""
        given = (self.status, self.sender, self.recipient, self.domain, self.destination, self.account)
        return any(value is not None for value in (*given, self.older_than, self.message))

    def unknown(self, tx: Tx) -> list[str]:
        """Ids that mean nothing in the queue, or nothing that the other choices mean too. Raises NotFound."""
        base = self._base(tx)
        numbers = {int(word) for word in self.words or () if word.isdecimal()}
        found = set(find_ids(tx, msgspec.structs.replace(base, ids=tuple(numbers)), len(numbers))) if numbers else set()
        return [word for word in self.words or () if not self._means(tx, word, base, found)]

    @staticmethod
    def _means(tx: Tx, word: str, base: QueueFilter, found: set[int]) -> bool:
        if word.isdecimal():
            return int(word) in found
        return bool(find_ids(tx, msgspec.structs.replace(base, message_key=word.upper()), 1))

    def filters(self, tx: Tx) -> list[QueueFilter]:
        """One for all numbers, and one for each message. Raises NotFound for an account that is not there."""
        base = self._base(tx)
        if not self.words:
            return [base]
        numbers = tuple(int(word) for word in self.words if word.isdecimal())
        keys = dict.fromkeys(word.upper() for word in self.words if not word.isdecimal())
        found = [msgspec.structs.replace(base, ids=numbers)] if numbers else []
        return found + [msgspec.structs.replace(base, message_key=key) for key in keys]

    def _base(self, tx: Tx) -> QueueFilter:
        return QueueFilter(
            status="failed" if self.status == "dead" else self.status,
            sender=self.sender,
            recipient=self.recipient,
            domain=self.domain.removeprefix("@") if self.domain is not None else None,
            destination=self.destination,
            user_id=self._user_id(tx),
            older_than=self._before(),
            message_key=self.message.upper() if self.message is not None else None,
        )

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
