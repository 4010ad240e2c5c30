"""zstd with contexts of the thread: two cannot use one at a time, and making one costs more than a small value."""

from __future__ import annotations

import threading
from collections.abc import Callable

import zstandard

from pillarbox.store.errors import Corrupt


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.compress: dict[int, Callable[[bytes], bytes]] = {}  # by level
        self.decompress = zstandard.ZstdDecompressor().decompress


_contexts = _Contexts()


def compress(data: bytes, level: int) -> bytes:
    """One frame that says how many octets it holds."""
    known = _contexts.compress
    if level not in known:
        known[level] = zstandard.ZstdCompressor(level=level).compress
    return known[level](data)


def decompress(frame: bytes) -> bytes:
    """What `compress` was given. Raises Corrupt."""
    try:
        return _contexts.decompress(frame)
    except zstandard.ZstdError as error:
        raise Corrupt(f"zstd: {error}") from error
