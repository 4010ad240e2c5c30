"""The content of a DATA command: where it ends, its dots, what is wrong with it.

Only `<CRLF>.<CRLF>` ends it (RFC 5321 section 4.1.1.4). Octets that a laxer server would take for an end (`<LF>.<LF>`,
`<LF>.<CRLF>`, `<CR>.<CR>` and so on) are content, and make the message refused after its true end.

All work is done on whole slices: a slice is cut so that it never ends inside a CRLF or inside what may become the end.
"""

from pillarbox.smtp import events

_END = b"\r\n.\r\n"
_TAILS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # what may become the end, the longest first


class DataReader:
    """Reads one content. The first octets that it is given must be the CRLF of the DATA line itself, since a dot
    right after it is at the beginning of a line."""

    __slots__ = ("_bare", "_limit", "_line", "_line_limit", "_long", "_nul", "_started", "size")

    def __init__(self, limit: int, line_limit: int) -> None:
        self.size = 0  # octets so far, dots unstuffed
        self._limit = limit
        self._line_limit = line_limit
        self._line = 0  # octets of the line that is not at its end
        self._started = False
        self._bare = self._nul = self._long = False

    @property
    def fault(self) -> str | None:
        """Why the message will be refused, as far as it was read; the same for any split of the same octets."""
        if self.size > self._limit:
            return events.TOO_BIG
        if self._nul:
            return events.NUL
        if self._bare:
            return events.BARE_LINE_END
        return events.LONG_LINE if self._long else None

    def read(self, data: bytes, at: int) -> tuple[bytes, int, bool]:
        """Read `data[at:]`: the content in it (within the limit), the position up to which it is read, whether it
        ended there. What is left before the end must be given again in front of what comes."""
        dot = data.find(b"\n.", at)  # half the time of looking for CRLF and dot; what has no CR is seen below
        end = data.find(_END, max(dot - 1, at)) if dot >= 0 else -1
        cut = end + 2 if end >= 0 else len(data) - _held_back(data, at)
        block = data[at:cut]
        if block:
            if 0 <= dot < cut - 1:
                block = block.replace(b"\r\n.", b"\r\n")
            if not self._started:
                self._started = True
                block = block[2:]
            block = self._checked(block)
        return (block, end + 5, True) if end >= 0 else (block, cut, False)

    def _checked(self, block: bytes) -> bytes:
        room = self._limit - self.size
        self.size += len(block)
        if room < len(block):
            return block[: max(room, 0)]
        rest = block.replace(b"\r\n", b"")  # a third of the time of counting CRs and LFs
        if b"\r" in rest or b"\n" in rest:
            self._bare = True
        if b"\0" in rest:
            self._nul = True
        self._measure(block, self._line + len(rest) > self._line_limit)
        return block

    def _measure(self, block: bytes, suspect: bool) -> None:
        """Find a line over the limit, in steps of about the limit."""
        at, longest = 0, self._line_limit - self._line
        while suspect:
            # The last CRLF that a line from `at` may end with; then all lines before it are short enough too,
            # as they lie within the same window.
            end = block.rfind(b"\r\n", at, at + longest + 2)
            if end < 0:
                self._long = self._long or len(block) - at > longest
                break
            at, longest = end + 2, self._line_limit
        last = block.rfind(b"\r\n")
        self._line = len(block) - last - 2 if last >= 0 else self._line + len(block)


def _held_back(data: bytes, at: int) -> int:
    if data.endswith(_TAILS, at):
        for tail in _TAILS:
            if data.endswith(tail, at):
                return len(tail)
    return 0
