"""Values that a row keeps packed: MessagePack, compressed with zstd."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec
import zstandard

from pillarbox.store.errors import Corrupt

T = TypeVar("T")


class _Contexts(threading.local):
    """Of a thread, since they cannot be used by two at a time and are dear to make."""

    def __init__(self) -> None:
        self.decompress = zstandard.ZstdDecompressor().decompress


_contexts = _Contexts()


def packed(value: Any, level: int) -> bytes:
    """`level` of zstd."""
    return zstandard.ZstdCompressor(level=level).compress(msgspec.msgpack.encode(value))


def unpacked(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """What `packed` was given. Raises Corrupt."""
    try:
        return decoder.decode(_contexts.decompress(data))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise Corrupt(str(error)) from error
