"""Writing an account's mailboxes into files: which messages, and the counts. How is a writer's business."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from pillarbox.store import exports, mailboxes
from pillarbox.store.exports import Leaving
from pillarbox.store.records import Mailbox
from pillarbox.store.store import Store

Progress = Callable[[int, int], None]  # octets, messages


class ExportCount(msgspec.Struct):
    """What became of one mailbox: messages in it, those written now, those that were there from an earlier run, and
    files of an earlier run whose messages are gone here.
    """

    mailbox: str
    messages: int = 0
    written: int = 0
    known: int = 0
    left_over: int = 0
    octets: int = 0
    place: str = ""


class Writer(Protocol):
    """Files of one kind. All methods are called in a thread, one at a time. They raise OSError."""

    warnings: list[str]

    def begin(self, mailbox: Mailbox) -> bool:
        """The next mailbox; False: it is there as it is now, and nothing more is to be done for it."""

    def wanted(self, message: Leaving) -> bool:
        """Whether `put` needs its octets; when not, what is there is brought up to date."""

    def put(self, message: Leaving, data: bytes) -> None: ...

    def end(self, count: ExportCount) -> None:
        """All messages were told: makes the mailbox complete, and says its place and what was left over."""

    def finish(self, subscribed: Sequence[str]) -> None: ...


async def export(
    store: Store, user_id: int, writer: Writer, names: Sequence[str] = (), progress: Progress | None = None
) -> list[ExportCount]:
    """All mailboxes, or those of these names. Raises StoreError (NotFound: no such mailbox), OSError."""
    boxes = await store.scan(mailboxes.list_mailboxes, user_id)
    if names:
        boxes = [await store.read(mailboxes.status, user_id, name) for name in names]
    counts = []
    octets = total = 0
    for box in boxes:
        count = ExportCount(box.name, box.message_count)
        counts.append(count)
        if not await asyncio.to_thread(writer.begin, box):
            count.known = box.message_count
            octets, total = octets + box.total_size, total + box.message_count
            continue
        count.messages = 0
        after = 0
        while page := await store.scan(exports.page, box.id, after):
            after = page[-1].uid
            for message in page:
                if message.uid >= box.uidnext:
                    continue  # it came meanwhile: the next run's
                count.messages += 1
                if await asyncio.to_thread(writer.wanted, message):
                    data = await store.scan(exports.octets, message)
                    await asyncio.to_thread(writer.put, message, data)
                    count.written += 1
                    count.octets += len(data)
                else:
                    count.known += 1
                octets += message.size
                total += 1
            if progress is not None:
                progress(octets, total)
        await asyncio.to_thread(writer.end, count)
    await asyncio.to_thread(writer.finish, [box.name for box in boxes if box.subscribed])
    return counts
