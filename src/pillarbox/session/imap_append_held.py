"""Whole messages of one APPEND, waiting for the others: in memory while they are few, in the store when they are many.

A message that waits in the store is a complete blob that no mailbox has yet. When the command comes to nothing these
are freed at once; after a crash the sweep of blobs that nobody has finds them.
"""

from __future__ import annotations

from pillarbox.flow.spool import Spool
from pillarbox.imap.commands import Append
from pillarbox.mime.analysis import Analysis
from pillarbox.session.binary_mail import free
from pillarbox.store import Store, blobs
from pillarbox.store.records import NewMessage

MOST_HELD = 4 << 20  # octets in memory: contents, and what was computed of them
OVERHEAD = 1000  # octets that a message takes besides
_OWNER = "append"

New = tuple[Append, NewMessage]


class Held:
    """Messages in the order of the command."""

    __slots__ = ("_fresh", "_octets", "_spools", "_stored", "messages")

    def __init__(self) -> None:
        self.messages: list[New] = []
        self._fresh = 0  # where those begin that are in memory
        self._octets = 0
        self._spools: list[Spool] = []  # of these
        self._stored: list[int] = []  # blobs that no mailbox has yet

    def __len__(self) -> int:
        return len(self.messages)

    async def add(self, store: Store, args: Append, message: NewMessage, spool: Spool) -> None:
        """One more, whose spool is given over. Raises StoreError."""
        spool.head = b""  # nobody reports about it
        self.messages.append((args, message))
        self._spools.append(spool)
        self._octets += OVERHEAD + _octets_of(message)
        if self._octets > MOST_HELD and len(self.messages) > 1:
            await self._put_away(store)

    async def _put_away(self, store: Store) -> None:
        fresh = [message for _, message in self.messages[self._fresh :]]
        size = sum(len(message.packed) for message in fresh if message.packed is not None)
        ids = await store.write(blobs.put_away, fresh, _OWNER, size=size)
        self._stored += ids
        for at, blob_id in enumerate(ids, self._fresh):
            args, message = self.messages[at]
            self.messages[at] = args, NewMessage(None, blob_id, _only_size(message.analysis.size))
        self._fresh = len(self.messages)
        self._octets = 0
        self._give_back(stored=True)

    def close(self, store: Store, *, stored: bool) -> None:
        """Give everything back; unless the messages are in a mailbox now, what is in the store too."""
        self._give_back(stored=stored)
        ids, self._stored = self._stored, []
        self.messages = []
        if stored or not ids:
            return
        free(store, ids)

    def _give_back(self, *, stored: bool) -> None:
        for spool in self._spools:
            spool.close(stored=stored)
        self._spools.clear()


def _octets_of(message: NewMessage) -> int:
    made = message.analysis
    computed = len(made.parts) + len(made.envelope) + len(made.bodystructure) + len(made.body)
    ids = sum(map(len, made.references)) + sum(map(len, made.in_reply_to)) + len(made.message_id)
    return (
        computed
        + ids
        + 4 * (len(made.subject) + len(made.base_subject) + len(made.preview))
        + len(message.packed or b"")
    )


def _only_size(size: int) -> Analysis:
    """What is asked for of a message whose blob is complete."""
    return Analysis(size, b"", b"", b"", b"", 0, "", (), (), "", "", None, "")
