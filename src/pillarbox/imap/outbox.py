"""What is to be written: queued as responses are made, pulled in pieces of a good size."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

_PIECE = 64 * 1024  # small pieces are joined up to this
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Outbox:
    """Pieces of output in order."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        self._queue.append(data)

    def pull(self) -> Iterator[bytes]:
        """The pieces; what is not asked for stays, and the next `pull` goes on from there."""
        queue = self._queue
        while queue:
            piece = queue.popleft()
            size = len(piece)
            if queue and size < _PIECE:
                joined = [piece]
                while queue and size < _PIECE and len(queue[0]) < _PIECE:
                    joined.append(queue.popleft())
                    size += len(joined[-1])
                piece = b"".join(joined)
            yield piece


def response_text(text: str, code: str | None, utf8: bool) -> bytes:
    """`resp-text`: the code in brackets and the text on one line, never empty; ASCII unless IMAP4rev2 is enabled."""
    whole = f"[{code}] {text or 'done'}" if code else text or "done"
    if not whole.isprintable():
        whole = _CONTROL.sub(" ", whole)
    if whole.endswith("}"):  # the end of "no mailbox {3}" announces a literal to many clients (RFC 9051 section 4.3)
        whole += "."
    return whole.encode("utf-8" if utf8 else "ascii", "replace")
