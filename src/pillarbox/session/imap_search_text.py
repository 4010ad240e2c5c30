"""What SEARCH asks of a message's content: header fields, the header as text, the body as text, the day of its Date.

Runs in a reader thread (`store.scan(matching, ...)`). A message is read as far as the tests ask, each part once.
Values are decoded (RFC 2047, transfer encodings, charsets) by `mime`; the texts given out are keys of the comparator
that the search has, so a test is one `in`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pillarbox.mime import envelope_reader
from pillarbox.mime.header import decoded_value, header_text
from pillarbox.mime.subject import MAX_SUBJECT
from pillarbox.mime.text import search_text
from pillarbox.mime.tree import load_parts
from pillarbox.mime.words import folded
from pillarbox.session.imap_search_plan import Key, Test
from pillarbox.store import Tx, blobs, messages, object_ids
from pillarbox.store.records import Rendered

Wanted = tuple[int, int]
"""(index in the session's columns, row id)."""

_WHOLE = 256 * 1024  # octets; a message up to this size is one piece in the store, so it is read once


def matching(tx: Tx, page: Sequence[Wanted], tests: Sequence[Test]) -> list[int]:
    """The indexes of the page's messages for which all tests hold. Messages that are gone match nothing."""
    rows = {row.id: row for row in messages.rendered(tx, [row_id for _, row_id in page])}
    found: list[int] = []
    for index, row_id in page:
        row = rows.get(row_id)
        if row is not None:
            message = StoredMessage(index, row, partial(blobs.read_slice, tx, row.blob_id), tx)
            if all(test(message) for test in tests):
                found.append(index)
    return found


class StoredMessage:
    """One message, read on demand. `read_slice(start, length)` gives octets of its blob."""

    __slots__ = (
        "_body",
        "_body_words",
        "_header",
        "_header_text",
        "_header_words",
        "_read",
        "_row",
        "_tx",
        "_whole",
        "index",
    )

    def __init__(self, index: int, row: Rendered, read_slice: Callable[[int, int], bytes], tx: Tx) -> None:
        self.index = index
        self._row = row
        self._read = read_slice
        self._tx = tx
        self._header: bytes | None = None
        self._header_text: str | None = None
        self._body: str | None = None
        self._header_words: str | None = None
        self._body_words: str | None = None
        self._whole = b""

    def header(self, name: str) -> list[str]:
        """The decoded values of a header field, one for each time it occurs."""
        return decoded_value(self._raw_header(), name.encode())

    def envelope(self, name: str) -> list[str]:
        """Subject or addresses as they were stored at delivery, an address as `Name <mailbox@host>`."""
        if name == "subject":
            return [self._row.subject] if len(self._row.subject) < MAX_SUBJECT else self.header(name)
        return envelope_reader.shown(self._row.envelope, [name])[name]

    def whole_header(self, key: Key) -> str:
        """All fields with their names, decoded, a line each; their key. A message is asked with one `key` only."""
        if self._header_text is None:
            self._header_text = key(header_text(self._raw_header()))
        return self._header_text

    def body_text(self, key: Key) -> str:
        """The key of the text of all parts."""
        if self._body is None:
            self._body = key(self._text())
        return self._body

    def header_words(self) -> str:
        """The header as words, without the trace that delivery has put on top: as the search index has it."""
        if self._header_words is None:
            self._header_words = folded(header_text(self._slice(0, self._row.header_size)))
        return self._header_words

    def body_words(self) -> str:
        """The text of all parts as words."""
        if self._body_words is None:
            self._body_words = folded(self._text())
        return self._body_words

    def sent_day(self) -> int | None:
        """See `envelope_reader.sent_day`."""
        return envelope_reader.sent_day(self._row.envelope)

    def email_id(self) -> str:
        return object_ids.email_id(self._row)

    def thread_id(self) -> str:
        return object_ids.thread_ids(self._tx, [self._row.blob_id])[self._row.blob_id]

    def _text(self) -> str:
        return search_text(self._slice, load_parts(self._row.parts))

    def _raw_header(self) -> bytes:
        if self._header is None:
            self._header = self._row.prefix + self._slice(0, self._row.header_size)
        return self._header

    def _slice(self, start: int, end: int) -> bytes:
        size = self._row.size - len(self._row.prefix)
        if size > _WHOLE:
            return self._read(start, end - start)
        if not self._whole:
            self._whole = self._read(0, size)
        return self._whole[start:end]
