"""Large sections of a message, written in pieces as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pillarbox.session.imap_binary import pieces_for
from pillarbox.session.imap_sections import Cut, without_nul
from pillarbox.store import blobs

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

PIECE = 256 * 1024  # octets that are held at once


async def decoded_size(session: ImapSession, blob_id: int, cut: Cut) -> int:
    """How many octets a cut has without its transfer encoding: it is decoded once to be counted."""
    size = 0
    async for piece in _decoded(session, blob_id, cut):
        size += len(piece)
        session.active()
    return size


async def stream(session: ImapSession, blob_id: int, cut: Cut, size: int) -> None:
    """Write the item with its literal of `size` octets. Raises StoreError when it cannot go on."""
    tilde = b"~" if cut.binary else b""
    session.core.write(b"%b %b{%d}\r\n" % (cut.section.label, tilde, size))
    async for piece in pieces_of(session, blob_id, cut):
        session.core.write(piece if cut.binary else without_nul(piece))
        await session.drained()


def pieces_of(session: ImapSession, blob_id: int, cut: Cut) -> AsyncIterator[bytes]:
    """The content of a cut without its transfer encoding, in pieces (not for header fields)."""
    return _decoded(session, blob_id, cut) if cut.encoding else _read(session, blob_id, cut)


async def _read(session: ImapSession, blob_id: int, cut: Cut) -> AsyncIterator[bytes]:
    if cut.head:
        yield cut.head
    end = cut.start + cut.length
    for start in range(cut.start, end, PIECE):
        yield await session.store.scan(blobs.read_slice, blob_id, start, min(PIECE, end - start))


async def _decoded(session: ImapSession, blob_id: int, cut: Cut) -> AsyncIterator[bytes]:
    """The content in pieces, cut to the window."""
    decoder = pieces_for(cut.encoding)
    origin, length = cut.window or (0, 1 << 62)
    at = 0
    async for raw in _read(session, blob_id, cut):
        piece = decoder.feed(raw)
        yield _within(piece, at, origin, length)
        at += len(piece)
        if at >= origin + length:
            return
    yield _within(decoder.finish(), at, origin, length)


def _within(piece: bytes, at: int, origin: int, length: int) -> bytes:
    """What of a piece that begins at offset `at` lies in the window."""
    if at >= origin and at + len(piece) <= origin + length:
        return piece
    return piece[max(0, origin - at) : max(0, origin + length - at)]
