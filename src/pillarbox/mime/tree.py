"""The tree of parts with their offsets, as it is kept beside a message."""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, array_like=True, gc=False):
    """One part, or the message itself at the root. Offsets count octets from the start of the message.

    The header block is `header:body` (with its empty line), the content is `body:end`. `lines` counts the line feeds of
    the content of text parts, embedded messages and multiparts without parts, and is 0 for others. Types, charset and
    encoding are in lower case; `charset` only for text, "" where none is named ("us-ascii" for text/plain). `filename`
    is decoded. No text here holds a NUL.

    `children` of a multipart are its parts; of message/rfc822 exactly one, the root of the embedded message. A
    multipart in which no part can be found (no boundary, none in the body, nested too deep) has one child, a text/plain
    part that is its whole content. An embedded message that cannot be looked into (encoded against RFC 2046, nested too
    deep) has one child with an empty header.
    """

    header: int
    body: int
    end: int
    lines: int
    type: str
    subtype: str
    charset: str
    encoding: str
    filename: str
    disposition: str
    content_id: str
    children: list[Part]

    @property
    def is_multipart(self) -> bool:
        return self.type == "multipart"

    @property
    def is_message(self) -> bool:
        return self.type == "message" and self.subtype in ("rfc822", "global")


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Part)


def dump_parts(root: Part) -> bytes:
    """The tree as msgpack."""
    return _ENCODER.encode(root)


def load_parts(parts: bytes) -> Part:
    """The tree that `dump_parts` wrote. Raises msgspec.DecodeError on anything else."""
    return _DECODER.decode(parts)
