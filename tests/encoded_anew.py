"""The message that a plan to encode it anew makes, as what stores or sends it would."""

from __future__ import annotations

from pillarbox.mime.downgrade import Copy, Downgrade, Insert, encoded
from pillarbox.mime.encoder import encoder_for


def made(message: bytes, plan: Downgrade) -> bytes:
    """What a plan says; its size is the one that was announced."""
    out = b""
    for piece in plan.pieces:
        match piece:
            case Insert(data):
                out += data
            case Copy(start, end):
                out += message[start:end]
            case _:
                out += b"".join(encoded(encoder_for(piece.encoding), iter([message[piece.start : piece.end]])))
    assert len(out) == plan.size, "another size than was announced"
    return out
