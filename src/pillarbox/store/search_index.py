"""The index of words: which messages of a mailbox hold them. Derived from the blobs, and can be made anew at any time.

It knows blobs, not mailboxes: one text for all who have the message, and COPY, MOVE and EXPUNGE do not concern it. What
a mailbox holds is joined at the moment of the search, so what was expunged is never found; and what is not indexed yet
is named as such, so that whoever searches can read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from pillarbox.mime.analysis import analyse
from pillarbox.mime.header import header_text
from pillarbox.mime.text import search_text
from pillarbox.mime.tree import load_parts
from pillarbox.mime.words import folded
from pillarbox.store import blobs
from pillarbox.store.errors import NotFound, StoreError
from pillarbox.store.tx import Tx

if TYPE_CHECKING:
    from pillarbox.store.store import Store

log = structlog.get_logger()

VERSION = 1  # of how texts become words; an index of another version is made anew

BATCH_MESSAGES = 50  # of one step
BATCH_OCTETS = 2 << 20  # a fraction of a second in a thread of readers
_WHOLE = 256 * 1024  # octets; a message up to this size is one piece in the store, so it is read once


class Sought(NamedTuple):
    """Words to look for (`mime.words.sought`, not empty), in the body, or with `header` in header or body."""

    words: str
    header: bool


@dataclass(slots=True, frozen=True)
class Found:
    """Row ids of messages, for each of what was sought: those that hold it, and those that only a look can tell."""

    sure: list[set[int]]
    unknown: list[set[int]]


class Status(NamedTuple):
    """How far it is: messages (blobs) in the index, and those that wait."""

    indexed: int
    waiting: int


class SearchIndex(Protocol):
    """`find` is for `store.scan`, so that it reads in a thread; it changes nothing."""

    def find(self, tx: Tx, mailbox_id: int, sought: Sequence[Sought]) -> Found | None:
        """None: there is no index (yet), everything is to be read."""

    async def feed(self, store: Store) -> int:
        """Index some of what waits; how many. One process at a time calls it."""

    async def sweep(self, store: Store) -> int:
        """Forget some of what has left the store; how many."""

    async def rebuild(self, store: Store) -> None:
        """Forget everything: `feed` begins again."""

    async def behind(self, store: Store) -> bool:
        """Does anything wait for `feed`; cheap."""

    async def status(self, store: Store) -> Status:
        """Counts it: for operators."""

    def close(self) -> None: ...


class Document(NamedTuple):
    """A message as words."""

    blob_id: int
    header: str
    body: str


def read_document(tx: Tx, blob_id: int) -> Document | None:
    """The words of a blob; None when it cannot be read."""
    row = tx.row("SELECT size, header_size, parts FROM blobs WHERE id = ? AND complete = 1", (blob_id,))
    if row is None:
        return None
    size, header_size, parts = row
    read = partial(blobs.read_slice, tx, blob_id)
    try:
        whole = read(0, size) if size <= _WHOLE else None

        def get_slice(start: int, end: int) -> bytes:
            return whole[start:end] if whole is not None else read(start, end - start)

        if not parts:  # it only passes through, and takes its time
            parts = analyse(get_slice(0, size)).parts
        header = folded(header_text(get_slice(0, header_size)))
        return Document(blob_id, header, folded(search_text(get_slice, load_parts(parts))))
    except NotFound:
        return None
    except (StoreError, ValueError) as error:
        log.warning("A message could not be read for the search index", blob=blob_id, error=str(error))
        return None


def bounded(rows: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Blob ids of (id, size) as far as a step should go."""
    octets = 0
    for blob_id, size in rows[:BATCH_MESSAGES]:
        if octets and octets + size > BATCH_OCTETS:
            return
        octets += size
        yield blob_id


def messages(tx: Tx) -> int:
    """How many messages all mailboxes have. Reads their rows: a scan."""
    (count,) = tx.row("SELECT sum(message_count) FROM mailboxes") or (0,)
    return int(count or 0)


def rows_of(tx: Tx, mailbox_id: int, blob_ids: set[int]) -> set[int]:
    """Row ids of the messages of a mailbox that have one of these blobs."""
    if not blob_ids:
        return set()
    count = tx.row("SELECT message_count FROM mailboxes WHERE id = ?", (mailbox_id,)) or (0,)
    if len(blob_ids) > count[0]:  # a common word of many accounts: the mailbox is the smaller side
        rows = tx.rows("SELECT id, blob_id FROM messages WHERE mailbox_id = ?", (mailbox_id,))
        return {row_id for row_id, blob_id in rows if blob_id in blob_ids}
    condition, values = tx.among("blob_id", list(blob_ids))
    found = tx.rows(f"SELECT id FROM messages WHERE {condition} AND +mailbox_id = ?", (values, mailbox_id))
    return {row[0] for row in found}
