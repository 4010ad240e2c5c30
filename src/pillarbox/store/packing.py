"""Values that a row keeps packed: MessagePack, compressed with zstd."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pillarbox.store.compression import compress, decompress
from pillarbox.store.errors import Corrupt

T = TypeVar("T")


def packed(value: Any, level: int) -> bytes:
    """`level` of zstd."""
    return compress(msgspec.msgpack.encode(value), level)


def unpacked(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """What `packed` was given. Raises Corrupt."""
    try:
        return decoder.decode(decompress(data))
    except msgspec.DecodeError as error:
        raise Corrupt(str(error)) from error
