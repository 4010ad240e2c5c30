"""What is to be written: queued as responses are made, pulled as the transport drains."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

_PIECE = 64 * 1024  # small pieces are joined up to this
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Outbox:
    """Pieces of output in order; an iterator among them is asked for its pieces only when its turn comes."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[bytes | Iterator[bytes]] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def write(self, data: bytes) -> None:
        self._queue.append(data)

    def stream(self, pieces: Iterable[bytes]) -> None:
        self._queue.append(iter(pieces))

    def pull(self) -> Iterator[bytes]:
        """The pieces; what is not asked for stays, and the next `pull` goes on from there."""
        queue = self._queue
        while queue:
            head = queue[0]
            if not isinstance(head, bytes):
                piece = next(head, None)
                if piece is None:
                    queue.popleft()
                else:
                    yield piece
                continue
            pieces: list[bytes] = []
            size = 0
            while queue and size < _PIECE:
                head = queue[0]
                if not isinstance(head, bytes) or (pieces and len(head) >= _PIECE):
                    break
                queue.popleft()
                pieces.append(head)
                size += len(head)
            yield pieces[0] if len(pieces) == 1 else b"".join(pieces)


def response_text(text: str, code: str | None, utf8: bool) -> bytes:
    """`resp-text`: the code in brackets and the text on one line, never empty; ASCII unless IMAP4rev2 is enabled."""
    whole = f"[{code}] {text or 'done'}" if code else text or "done"
    if not whole.isprintable():
        whole = _CONTROL.sub(" ", whole)
    if whole.endswith("}"):  # the end of "no mailbox {3}" would announce a literal (RFC 9051 section 4.3) to many clients
        whole += "."
    return whole.encode("utf-8" if utf8 else "ascii", "replace")
