"""`mailq`, `sendmail -bp`, `pillarbox queue mailq`: the queue in the form of Sendmail and Postfix, which scripts parse.

A message is one entry: its id with `*` while it is being sent or `!` while it is held, its size, when it came, its
sender; then each recipient, with the last error in parentheses in front of those it befell. Dead letters are in no
queue: `pillarbox queue dead` lists them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from pillarbox.cli.reader import while_read
from pillarbox.flow import maildrop
from pillarbox.store.queue import find
from pillarbox.store.records import QueueFilter, QueueRow
from pillarbox.store.store import Store

PAGE = 1000  # rows of one read
_HEAD = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
_EMPTY = "Mail queue is empty"


class Waiting(NamedTuple):
    """A message in the spool folder of `sendmail`."""

    name: str
    size: int
    since: float
    uid: int


def main(argv: Sequence[str] | None = None) -> int:
    """`mailq`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return while_read(lambda: _run(words))


def _run(words: list[str]) -> int:
    if words in (["--help"], ["-h"]):
        print("Usage: mailq\n\nShows the mail queue. `pillarbox queue --help` has more to see and to do.")
        return os.EX_OK
    if words not in ([], ["-v"], ["-Ac"]):
        print("Usage: mailq", file=sys.stderr)
        return os.EX_USAGE
    return _on_store(lambda store: show(store, sys.stdout.write))


def flush(only: str = "") -> int:
    """`sendmail -q`: everything that waits is tried now, or one message by its id. Scripts do so by the hour: dead
    letters stay, unless one is named."""
    from pillarbox.cli.administer_queue import operator
    from pillarbox.flow.queue_orders import carry_out, meant_by

    wanted = [meant_by(only)] if only else [QueueFilter(status=status) for status in ("pending", "retry")]

    async def work(store: Store) -> None:
        for those in wanted:
            await carry_out(store, "retry", those, operator())

    return _on_store(work)


def _on_store(work: Callable[[Store], Awaitable[None]]) -> int:
    from pillarbox.cli.accounts import NoDatabase, NotOurs, on_store
    from pillarbox.config.locate import store_place
    from pillarbox.config.sources import FileError
    from pillarbox.store.errors import StoreError

    try:
        on_store(store_place().store, work, create=False)
    except NotOurs as error:
        print(f"mailq: {error}", file=sys.stderr)
        return os.EX_NOPERM
    except (NoDatabase, StoreError, FileError, OSError) as error:
        print(f"mailq: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


async def show(store: Store, write: Callable[[str], object], folder: str | None = None) -> None:
    """The whole listing, a page of rows at a time. `folder` is where `sendmail` leaves what waits for the server."""
    count = octets = 0

    def listed(text: str, size: int) -> None:
        nonlocal count, octets
        write(f"{text}\n\n" if count else f"{_HEAD}\n{text}\n\n")
        count, octets = count + 1, octets + size

    for drop in in_folder(folder if folder is not None else _folder()):
        text = f"{drop.name[:10]:<10}  {drop.size:>7} {_time(drop.since)} (maildrop queue, sender UID {drop.uid})"
        listed(text, drop.size)
    last, unfinished = 0, list[QueueRow]()
    while rows := await store.scan(find, QueueFilter(), PAGE, last):
        last = rows[-1].id
        groups = _messages(unfinished + [row for row in rows if row.status != "failed"])
        unfinished = groups.pop() if groups else []  # more of it may come
        for group in groups:
            listed(entry(group), group[0].size)
    if unfinished:
        listed(entry(unfinished), unfinished[0].size)
    kilobytes = -(-octets // 1024)
    write(f"-- {kilobytes} Kbytes in {count} Request{'' if count == 1 else 's'}.\n" if count else _EMPTY + "\n")


def _messages(rows: list[QueueRow]) -> list[list[QueueRow]]:
    """Rows of one message, which were made together."""
    return [list(group) for _, group in groupby(rows, lambda row: (row.message_key or row.id, row.from_address))]


def entry(rows: Sequence[QueueRow]) -> str:
    """The lines of one message."""
    first = rows[0]
    states = {row.status for row in rows}
    mark = "*" if "processing" in states else "!" if "held" in states else " "
    name = f"{first.message_key or first.id}{mark}"
    sender = first.from_address or "MAILER-DAEMON"
    lines = [f"{name:<11} {first.size:>7} {_time(first.created_at)} {sender}"]
    for error, group in groupby(sorted(rows, key=lambda row: row.last_error or ""), lambda row: row.last_error or ""):
        if error:
            lines.append(f"({_line(error)})".rjust(78))
        lines += [f"{'':<10} {'':>8} {'':<20} {row.to_address}" for row in group]
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _time(epoch: float) -> str:
    try:
        return f"{time.asctime(time.localtime(epoch)):20.20}"
    except (OSError, OverflowError, ValueError, TypeError):  # written by hand, and no time at all
        return f"{epoch!s:20.20}"


def _folder() -> str:
    from pillarbox.config.locate_sendmail import local_server

    return local_server().folder


def in_folder(folder: str) -> Iterator[Waiting]:
    """What waits there, as far as we may look."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith(maildrop.UNFINISHED))
    except OSError:
        return
    for name in names:
        try:
            found = os.lstat(Path(folder, name))
        except OSError:
            continue
        yield Waiting(name, found.st_size, found.st_mtime, found.st_uid)
