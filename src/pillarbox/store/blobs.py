"""The bytes of messages: written once, compressed, shared by all mailboxes and queue rows that refer to them.

A row of `blobs` has what was computed of a message; its bytes are pieces in `blob_chunks`, so that the rows that lists
of messages are made of lie close together. A packed piece says by its first octet what it is: a zstd frame (0x28), or a
zero and then the bytes as they are, where compressing does not pay. A message up to 256 KiB is one piece; a larger one
is written piece by piece to an unfinished blob while it arrives, and only the last transaction makes it complete.
What only passes through is in no list and hardly stays: a small message of that kind is in the column `data` of its
row, two pages less to write. (Earlier versions put all small ones there: those are read where they are.)

There are no reference counters. A blob that no row refers to is noted (`free_unreferenced` looks through all of them, a
few at a time) and freed a day later, so rows may vanish by anybody's hand and an old view can still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pillarbox.mime.analysis import analyse
from pillarbox.store.compression import compress, decompress
from pillarbox.store.errors import Conflict, Corrupt, NotFound
from pillarbox.store.text import storable
from pillarbox.store.tx import Tx

if TYPE_CHECKING:
    from pillarbox.mime.analysis import Analysis
    from pillarbox.store.records import NewMessage

INLINE_SIZE = 256 * 1024  # octets of a message that is one piece
CHUNK_SIZE = 1024 * 1024  # the most a chunk may hold
LEVEL = 1
KEEP = 24 * 3600  # seconds an unreferenced blob stays

_MAX_REFERENCES = 8192  # characters of message ids kept for threads

FRESH_OR_NOT = "expunged.fresh IN (0, 1)"  # true of all, and needed to find them by their blob
# A condition on `blobs`.
UNREFERENCED = (
    "complete = 1 AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.blob_id = blobs.id) "
    "AND NOT EXISTS (SELECT 1 FROM message_queue WHERE message_queue.blob_id = blobs.id) "
    f"AND NOT EXISTS (SELECT 1 FROM expunged WHERE expunged.blob_id = blobs.id AND {FRESH_OR_NOT} "
    "AND expunged.expunged_at IS NOT NULL)"
)


def pack(data: bytes) -> bytes:
    """The piece to be stored for these bytes."""
    packed = compress(data, LEVEL)
    return packed if len(packed) < len(data) else b"\0" + data


def unpack(piece: bytes, size: int) -> bytes:
    """The bytes again; `size` is how many there must be. Raises Corrupt."""
    data = piece[1:] if piece[:1] == b"\0" else decompress(piece)
    if len(data) != size:
        raise Corrupt(f"a piece of a message has {len(data)} octets instead of {size}")
    return data


def add(tx: Tx, packed: bytes, analysis: Analysis) -> int:
    """Store a whole message; the new blob's id."""
    if analysis.is_outline:
        return tx.insert(_INSERT_WHOLE, (*_computed(analysis), tx.now, packed))
    blob_id = tx.insert(_INSERT, (*_computed(analysis), tx.now))
    add_chunk(tx, blob_id, 0, 0, analysis.size, packed)
    return blob_id


def store(tx: Tx, message: NewMessage) -> int:
    """The blob of a message: written, or made complete, or complete already. Raises NotFound, Conflict."""
    if message.packed is not None:
        return add(tx, message.packed, message.analysis)
    row = tx.row("SELECT complete FROM blobs WHERE id = ?", (message.blob_id,))
    if row is None or message.blob_id is None:
        raise NotFound(f"no blob {message.blob_id}")
    if not row[0]:
        finish(tx, message.blob_id, message.analysis)
    return message.blob_id


def look_into(tx: Tx, blob_id: int) -> None:
    """Have a blob of a message that was only to pass through (`Analysis.is_outline`), and comes into a mailbox after
    all, analysed. It is a small one."""
    row = tx.row(_NOT_LOOKED_INTO + tx.locking("FOR NO KEY UPDATE"), (blob_id,))
    if row is not None:
        size, packed = row
        analysis = analyse(read_slice(tx, blob_id, 0, size))
        tx.run(_LOOKED_INTO, (*_computed(analysis), blob_id))
        if packed is not None:
            add_chunk(tx, blob_id, 0, 0, size, packed)


def put_away(tx: Tx, messages: Iterable[NewMessage], owner: str) -> list[int]:
    """The blobs of whole messages that no mailbox has yet. `owner` has them: the search index waits for what becomes of
    them, as it does not for others that nobody refers to."""
    ids = [store(tx, message) for message in messages]
    condition, values = tx.among("id", ids)
    tx.run(f"UPDATE blobs SET owner = ? WHERE {condition}", (owner, values))
    return ids


_COMPUTED = (
    "complete, size, header_size, sent_at, sent_zone, message_id, in_reply_to, refs, subject, base_subject, preview, "
    "envelope, bodystructure, body, parts, listed"
)
_INSERT = f"INSERT INTO blobs ({_COMPUTED}, created_at) VALUES (1, {'?, ' * 15}?)"
_INSERT_WHOLE = f"INSERT INTO blobs ({_COMPUTED}, created_at, data) VALUES (1, {'?, ' * 16}?)"
_NOT_LOOKED_INTO = "SELECT size, data FROM blobs WHERE id = ? AND complete = 1 AND envelope IS NULL"
_LOOKED_INTO = f"UPDATE blobs SET ({_COMPUTED}, data) = (1, {'?, ' * 15}NULL) WHERE id = ?"
_FINISH = f"UPDATE blobs SET ({_COMPUTED}, owner) = (1, {'?, ' * 15}'') WHERE id = ? AND complete = 0"


def _computed(analysis: Analysis) -> tuple[object, ...]:
    return (
        analysis.size,
        analysis.header_size,
        analysis.sent_at,
        analysis.sent_zone,
        storable(analysis.message_id),
        storable(" ".join(analysis.in_reply_to)[:_MAX_REFERENCES]),
        storable(" ".join(analysis.references)[-_MAX_REFERENCES:]),
        storable(analysis.subject),
        storable(analysis.base_subject),
        storable(analysis.preview),
        analysis.envelope or None,
        analysis.bodystructure,
        analysis.body,
        analysis.parts,
        analysis.listed,
    )


def begin(tx: Tx, owner: str) -> int:
    """An unfinished blob. `owner` says whose it is, for `free_unfinished`."""
    return tx.insert("INSERT INTO blobs (complete, owner, created_at) VALUES (0, ?, ?)", (owner, tx.now))


def add_chunk(tx: Tx, blob_id: int, sequence: int, start: int, size: int, packed: bytes) -> None:
    """Chunk number `sequence` (from 0): `size` octets of the message from offset `start` on. At most CHUNK_SIZE."""
    tx.insert(
        "INSERT INTO blob_chunks (blob_id, sequence, start, size, data) VALUES (?, ?, ?, ?, ?)",
        (blob_id, sequence, start, size, packed),
    )


def finish(tx: Tx, blob_id: int, analysis: Analysis) -> None:
    """Make the blob complete. Raises NotFound (freed, or never there) and Conflict when chunks are missing."""
    (stored,) = tx.row("SELECT coalesce(sum(size), 0) FROM blob_chunks WHERE blob_id = ?", (blob_id,)) or (0,)
    if stored != analysis.size:
        raise Conflict(f"blob {blob_id} has {stored} of {analysis.size} octets")
    if not tx.run(_FINISH, (*_computed(analysis), blob_id)):
        raise NotFound(f"no unfinished blob {blob_id}")


# A message that is one piece, by its size.
_WHOLE = "SELECT data FROM blob_chunks WHERE blob_id = ? AND sequence = 0 AND size = ?"


def read_slice(tx: Tx, blob_id: int, start: int, length: int) -> bytes:
    """Octets of a blob, fewer at its end. Reads and decompresses only the chunks it needs. Raises NotFound, Corrupt."""
    row = tx.row("SELECT size, complete, length(data) FROM blobs WHERE id = ?", (blob_id,))
    if row is None or not row[1]:
        raise NotFound(f"no blob {blob_id}")
    size, _, stored = row
    end = min(start + length, size)
    if start >= end:
        return b""
    if stored is not None:
        tx.heavy(octets=stored)
        (piece,) = tx.row("SELECT data FROM blobs WHERE id = ?", (blob_id,)) or (b"",)
        if piece is not None:  # else another writer has looked into it meanwhile (PostgreSQL): it is a chunk now
            return unpack(piece, size)[start:end]
    tx.heavy(octets=max(end - start, min(size, CHUNK_SIZE) // 4))  # a piece is read and decompressed whole
    chunks = tx.rows(
        "SELECT start, size, data FROM blob_chunks "
        "WHERE blob_id = ? AND start < ? AND start + size > ? ORDER BY sequence",
        (blob_id, end, start),
    )
    pieces = []
    for at, chunk_size, piece in chunks:
        data = unpack(piece, chunk_size)
        pieces.append(data[max(0, start - at) : end - at])
    joined = b"".join(pieces)
    if len(joined) != end - start:
        raise Corrupt(f"blob {blob_id} lacks chunks")
    return joined


def read_start(tx: Tx, blob_id: int, length: int) -> bytes:
    """`read_slice` of the first octets; by one statement where they are a small message's all. Raises as that does."""
    tx.heavy(octets=length)
    whole = tx.row(_WHOLE, (blob_id, length))
    return read_slice(tx, blob_id, 0, length) if whole is None else unpack(whole[0], length)


def free_unreferenced(tx: Tx, before: int, limit: int = 200, look: int = 500) -> int:
    """One small step of the clean-up; how many blobs were freed.

    Notes those nobody refers to among the next `look` blobs, and frees at most `limit` that were noted before the time
    `before` (now minus KEEP) and still have nobody. To be called again and again, slowly.
    """
    _note_unreferenced(tx, look)
    rows = tx.rows("SELECT id FROM unreferenced_blobs WHERE since < ? ORDER BY since LIMIT ?", (before, limit))
    if not rows:
        return 0
    condition, values = tx.among("id", [row[0] for row in rows])
    free = [row[0] for row in tx.rows(f"SELECT id FROM blobs WHERE {condition} AND {UNREFERENCED}", (values,))]
    _delete(tx, free)
    tx.run(f"DELETE FROM unreferenced_blobs WHERE {condition}", (values,))  # freed, or wanted again
    return len(free)


def _note_unreferenced(tx: Tx, limit: int) -> None:
    (after,) = tx.row("SELECT value FROM store_counters WHERE name = 'blob_sweep'") or (0,)
    ids = [row[0] for row in tx.rows("SELECT id FROM blobs WHERE id > ? ORDER BY id LIMIT ?", (after, limit))]
    last = ids[-1] if len(ids) == limit else 0  # at the end begin again
    if ids:
        condition, values = tx.among("id", ids)
        tx.run(
            f"INSERT INTO unreferenced_blobs (id, since) SELECT id, ? FROM blobs WHERE {condition} AND {UNREFERENCED} "
            "ON CONFLICT (id) DO NOTHING",
            (tx.now, values),
        )
    if last != after:
        tx.run("UPDATE store_counters SET value = ? WHERE name = 'blob_sweep'", (last,))


def free_unwanted(tx: Tx, ids: Sequence[int]) -> int:
    """Free those of these complete blobs that nobody refers to, at once; how many."""
    condition, values = tx.among("id", ids)
    free = [row[0] for row in tx.rows(f"SELECT id FROM blobs WHERE {condition} AND {UNREFERENCED}", (values,))]
    _delete(tx, free)
    return len(free)


def free_unfinished(tx: Tx, alive: Callable[[str], bool], limit: int = 50, before: int = 0) -> int:
    """Free unfinished blobs whose owner is gone, or that were begun before `before`, at most `limit`; how many."""
    rows = tx.rows("SELECT id, owner, created_at FROM blobs WHERE complete = 0 ORDER BY id")
    dead = [blob_id for blob_id, owner, begun in rows if begun < before or not alive(owner)][:limit]
    _delete(tx, dead)
    return len(dead)


def _delete(tx: Tx, ids: list[int]) -> None:
    if not ids:
        return
    condition, values = tx.among("blob_id", ids)
    tx.run(f"DELETE FROM blob_chunks WHERE {condition}", (values,))
    tx.run(f"UPDATE expunged SET blob_id = NULL, prefix = ? WHERE {condition} AND {FRESH_OR_NOT}", (b"", values))
    condition, values = tx.among("id", ids)
    tx.run(f"DELETE FROM blobs WHERE {condition}", (values,))
