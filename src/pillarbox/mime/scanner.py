"""The offset scanner: finds the parts of a message while its octets go by.

It keeps only what it still needs (a header block that is not complete, the end of a line), looks at bodies with
`bytes.find` alone, and gives the same result for the same octets in any split. It never raises and takes linear time.

How it reads:
- A header block ends at an empty line, or at a delimiter of a multipart around it. When its first line is neither a
  field nor a continuation there is no header and the body begins at once.
- A delimiter is a line `--boundary` of any multipart that is open (RFC 2046 section 5.1.2: an inner part also ends at
  an outer boundary); white space, and words after it, may follow the boundary. The line end before it is part of it.
- Lines end in LF, with or without a CR before.
"""

from __future__ import annotations

import re

from pillarbox.mime.content import MAX_BOUNDARY, Content, describe
from pillarbox.mime.envelope import render_envelope
from pillarbox.mime.header import MAX_HEADER, fields_of, listed_fields
from pillarbox.mime.open_part import OpenPart
from pillarbox.mime.tree import Part

MAX_DEPTH = 50  # parts within parts; deeper ones are not looked into
MAX_PARTS = 1000  # the last one then holds the rest of the message
MAX_HEADERS = 1024 * 1024  # octets of all header blocks of a message together that are read
MAX_CANDIDATES = 1_000_000  # lines that look like a delimiter and are none; after that none is looked for
MAX_CAPTURE = 16 * 1024  # octets of the first text parts that are kept for the preview

_LINE = MAX_BOUNDARY + 200  # a delimiter line is not longer
_FIRST_LINE = 1000

_FIELD_START = re.compile(rb"[!-9;-~]++[ \t]*+:")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_EMPTY_LINE_OR_DASHES = re.compile(rb"\n(?:\r?\n|--)")
_NO_FIELD_BUT_HEADER = (b"From ", b">From ", b" ", b"\t")  # mbox; a continuation of nothing
_DASH = 0x2D
_CR = 0x0D


class OffsetScanner:
    """Feed it a message in pieces, then `end` it. After that `root`, `body` and `structure` (rendered BODY and
    BODYSTRUCTURE), `fields` and `listed` (of the message's own header), and `captured` (starts of text parts) are
    there."""

    __slots__ = (
        "_active", "_candidates", "_capture", "_counting", "_first_line", "_header_at", "_header_budget",
        "_header_start", "_in_header", "_kept", "_kept_at", "_lines", "_mark", "_messages", "_needle", "_parts",
        "_seek", "_stack", "body", "captured", "fields", "listed", "root", "structure",
    )  # fmt: skip

    def __init__(self) -> None:
        self._kept: bytes | bytearray = b""  # octets not done with, from offset _kept_at
        self._kept_at = 0
        self._stack: list[OpenPart] = []
        self._active: dict[bytes, int] = {}  # boundary -> level of the innermost open multipart that has it
        self._needle = b""  # what every delimiter line begins with; b"" when there can be none
        self._candidates = 0
        self._parts = 0
        self._messages = 0  # open embedded messages
        self._header_budget = MAX_HEADERS
        # State. In a header: where it begins, whether its first line is checked, and its first octets when it is too
        # long to be kept whole. `_seek` is where the next search begins, `_mark` up to where lines are counted.
        self._in_header = True
        self._header_at = 0
        self._first_line = True
        self._header_start: bytes | None = None
        self._seek = 0
        self._mark = 0
        self._lines = 0
        self._counting = False
        self._capture: bytearray | None = None
        self.captured: list[tuple[Content, bytearray]] = []
        self.fields: dict[bytes, bytes] = {}
        self.listed: bytes | None = b""
        self.root: Part
        self.body = b""
        self.structure = b""

    def feed(self, data: bytes) -> None:
        """The next octets of the message."""
        if not isinstance(data, bytes):
            data = bytes(data)  # the caller may change it; we may cut it
        if self._kept:
            kept = self._kept if isinstance(self._kept, bytearray) else bytearray(self._kept)
            kept += data
            self._kept = kept
            self._run(kept, False)
        else:
            self._run(data, False)

    def end(self, data: bytes = b"") -> int:
        """`data` is the rest of the message, which is complete now. Its size in octets."""
        if self._kept or not isinstance(data, bytes):
            self.feed(data)
        else:
            self._kept = data
        self._run(self._kept, True)
        size = self._kept_at + len(self._kept)
        self._close_down_to(0, size)
        return size

    # The buffer always begins at offset _kept_at while this runs.

    def _run(self, buffer: bytes | bytearray, final: bool) -> None:
        while self._scan_header(buffer, final) if self._in_header else self._scan_body(buffer, final):
            pass
        if final:
            self._kept = buffer
            return
        if not self._in_header and not self._needle:
            keep = self._seek
        else:  # and one octet before: the LF that a delimiter right at the start needs, the CR before such an LF
            whole = self._in_header and self._header_start is None
            keep = max(self._header_at if whole else self._seek, 1) - 1
        done = keep - self._kept_at
        if done > 0:
            if isinstance(buffer, bytearray):
                del buffer[:done]
            else:
                buffer = buffer[done:]
            self._kept_at = keep
        self._kept = buffer

    def _scan_header(self, buffer: bytes | bytearray, final: bool) -> bool:
        """Look for the end of the header; True when it was found and the scan goes on."""
        base = self._kept_at
        start = self._header_at - base
        if self._first_line:
            verdict = _first_line(buffer, start, final)
            if verdict < 0:
                return False
            self._first_line = False
            if verdict != 1:
                if final and start >= len(buffer) and self._stack:
                    self._in_header = False  # a delimiter was the last line: no part follows it
                else:
                    self._open(buffer, b"", self._header_at + max(verdict - 1, 0))
                return True
        pattern = _EMPTY_LINE_OR_DASHES if self._active else _EMPTY_LINE
        at = self._seek - base
        while (match := pattern.search(buffer, at)) is not None:
            at = match.start()
            if match.end() - at == 3 and buffer[at + 1] == _DASH:
                after, level, closing = self._delimiter(buffer, at + 1, final)
                if after < 0:
                    self._seek = base + at
                    break
                if level < 0:
                    at += 1
                    self._candidates += 1
                    if self._candidates > MAX_CANDIDATES:
                        self._stop_looking()
                        pattern = _EMPTY_LINE
                    continue
                self._open(buffer, self._header_block(buffer, start, at + 1), base + at + 1)
                self._close_part(buffer, base + at + 1, base + after, level, closing)
                return True
            self._open(buffer, self._header_block(buffer, start, at + 1), base + match.end())
            return True
        else:
            self._seek = max(self._seek, base + len(buffer) - 2)  # the end may be the first part of a match
        if final:
            self._open(buffer, self._header_block(buffer, start, len(buffer)), base + len(buffer))
            return True
        if self._header_start is None and self._seek - self._header_at > MAX_HEADER:
            self._header_start = bytes(buffer[start : start + MAX_HEADER])
        if self._header_start is not None:
            self._take(buffer, self._seek - 1)
        return False

    def _header_block(self, buffer: bytes | bytearray, start: int, end: int) -> bytes:
        if self._header_start is not None:
            block = self._header_start
            self._header_start = None
        else:
            block = bytes(buffer[start : min(end, start + MAX_HEADER)])
        block = block[: self._header_budget]
        self._header_budget -= len(block)
        return block

    def _scan_body(self, buffer: bytes | bytearray, final: bool) -> bool:
        """Look for the next delimiter; True when one was found."""
        base, needle = self._kept_at, self._needle
        if not needle:
            self._seek = base + len(buffer)
            self._take(buffer, self._seek)
            return False
        at = buffer.find(needle, self._seek - base)
        while at >= 0:
            after, level, closing = self._delimiter(buffer, at + 1, final)
            if after < 0:
                self._seek = base + at
                self._take(buffer, base + at - 1)  # the octet before may be the CR of the delimiter
                return False
            if level >= 0:
                end = at - 1 if at and buffer[at - 1] == _CR else at
                self._close_part(buffer, base + end, base + after, level, closing)
                return True
            self._candidates += 1
            if self._candidates > MAX_CANDIDATES:
                self._stop_looking()
                return True
            at = buffer.find(needle, at + 1)
        self._seek = max(self._seek, base + len(buffer) - len(needle) + 1)
        self._take(buffer, base + len(buffer) if final else self._seek - 1)
        return False

    def _delimiter(self, buffer: bytes | bytearray, start: int, final: bool) -> tuple[int, int, bool]:
        """Whether the line at `start`, which begins with "--", is a delimiter.

        Gives the index after the line (-1: it is not complete), the level of its multipart (-1: it is none), and
        whether it is the closing one.
        """
        end = buffer.find(b"\n", start, start + _LINE)
        after = end + 1
        if end < 0:
            end = len(buffer)
            if end - start >= _LINE:
                return start, -1, False
            if not final:
                return -1, -1, False
            after = end
        line = bytes(buffer[start + 2 : end])
        if line[-1:] == b"\r":
            line = line[:-1]
        level, closing = self._match(line)
        if level < 0 and (b" " in line or b"\t" in line):
            level, closing = self._match(line.rstrip(b" \t"))
            if level < 0:
                level, closing = self._match(line.split(None, 1)[0] if line.strip() else b"")
        return after, level, closing

    def _match(self, line: bytes) -> tuple[int, bool]:
        level = self._active.get(line)
        if level is not None:
            return level, False
        if line[-2:] == b"--":
            level = self._active.get(line[:-2])
            if level is not None:
                return level, True
        return -1, False

    # Changes of state.

    def _begin_header(self, at: int) -> None:
        self._in_header = self._first_line = True
        self._header_at = at
        self._seek = max(at - 1, 0)
        self._counting = self._messages > 0
        self._capture = None

    def _open(self, buffer: bytes | bytearray, block: bytes, body: int) -> None:
        """A header is complete: the part begins. Its body (or the header of an embedded message) is read next."""
        stack = self._stack
        fields = fields_of(block) if block else {}
        digest = False
        if stack:
            parent = stack[-1].content
            if parent.is_message:
                stack[-1].envelope = render_envelope(fields)
            digest = parent.is_digest
        else:
            self.fields, self.listed = fields, listed_fields(block)
        content = describe(fields, digest)
        self._take(buffer, body)
        part = OpenPart(content, self._header_at, body, self._lines)
        stack.append(part)
        self._parts += 1
        self._in_header = False
        self._seek = max(body - 1, 0)  # a delimiter may follow at once, after the LF of the empty line
        self._counting = self._messages > 0
        room = len(stack) < MAX_DEPTH and self._parts < MAX_PARTS
        if content.is_multipart:
            if room and content.boundary:
                part.boundary = content.boundary
                part.shadowed = self._active.get(content.boundary)
                self._active[content.boundary] = len(stack) - 1
                self._renew_needle()
            self._counting = True  # it may turn out to have no parts
        elif content.is_message:
            self._messages += 1
            if room and content.is_readable:
                self._begin_header(body)
            self._counting = True
        elif content.type == "text":
            self._counting = True
            self._begin_capture(content)

    def _begin_capture(self, content: Content) -> None:
        """Keep the start of the first text/plain and of the first text/html."""
        if content.subtype in ("plain", "html") and content.disposition != "attachment":
            for other, _ in self.captured:
                if other.subtype == content.subtype:
                    return
            self._capture = bytearray()
            self.captured.append((content, self._capture))

    def _close_part(self, buffer: bytes | bytearray, end: int, after: int, level: int, closing: bool) -> None:
        """A delimiter of the multipart at `level` ended a part at `end`; what follows begins at `after`."""
        if not closing and self._parts >= MAX_PARTS:
            self._stop_looking()
            return
        self._take(buffer, end)
        self._close_down_to(level + 1, end)
        self._capture = None
        multipart = self._stack[level]
        self._counting = self._messages > 0 or not multipart.children
        if closing:
            self._forget_boundary(multipart)
            self._renew_needle()
            self._seek = after - 1
            self._take(buffer, self._seek)  # this LF is part of the next delimiter when that comes at once
            self._in_header = False
        else:
            self._take(buffer, after)
            self._begin_header(after)

    def _close_down_to(self, level: int, end: int) -> None:
        """Close the innermost parts until `level` are open. None ends before it begins, or before a child of it."""
        stack, renew = self._stack, False
        while len(stack) > level:
            part = stack.pop()
            end = max(end, part.body)
            if part.boundary:
                self._forget_boundary(part)
                renew = True
            if part.content.is_message:
                self._messages -= 1
            node, rendered = part.finish(end, self._lines - part.lines_before)
            if stack:
                stack[-1].add(node, rendered)
            else:
                self.root = node
                self.body, self.structure = rendered
        if renew:
            self._renew_needle()

    def _forget_boundary(self, part: OpenPart) -> None:
        if part.shadowed is None:
            del self._active[part.boundary]
        else:
            self._active[part.boundary] = part.shadowed
        part.boundary = b""

    def _renew_needle(self) -> None:
        self._needle = b"\n--" + _common_start(min(self._active), max(self._active)) if self._active else b""

    def _stop_looking(self) -> None:
        """Enough: the parts that are open take the rest of the message."""
        for part in self._stack:
            part.boundary = b""
        self._active.clear()
        self._needle = b""

    def _take(self, buffer: bytes | bytearray, upto: int) -> None:
        """The octets up to this offset are behind us: count their lines and keep the start of a text."""
        if upto <= self._mark:
            return
        start, end = self._mark - self._kept_at, upto - self._kept_at
        if self._counting:
            # Half the time of `count`, which looks at one octet after the other.
            self._lines += end - start - len(buffer[start:end].replace(b"\n", b""))
        if self._capture is not None:
            room = MAX_CAPTURE - len(self._capture)
            if room > 0:
                self._capture += buffer[start : min(end, start + room)]
        self._mark = upto


def _common_start(first: bytes, last: bytes) -> bytes:
    """What the first and the last of sorted strings, and so all of them, begin with; at most 64 octets of it."""
    if first == last:
        return first[:64]
    for i, (a, b) in enumerate(zip(first[:64], last, strict=False)):
        if a != b:
            return first[:i]
    return first[: min(len(last), 64)]


def _first_line(buffer: bytes | bytearray, start: int, final: bool) -> int:
    """What the first line of a header says: -1 it is not complete, 0 this is no header, 1 a header, 2 or 3 an empty
    line of one or two octets."""
    if _FIELD_START.match(buffer, start, start + _FIRST_LINE) is not None:
        return 1
    end = buffer.find(b"\n", start, start + _FIRST_LINE)
    if end < 0 and len(buffer) - start < _FIRST_LINE and not final:
        return -1
    if end == start:
        return 2
    if end == start + 1 and buffer[start] == _CR:
        return 3
    return 1 if buffer[start : start + 6].startswith(_NO_FIELD_BUT_HEADER) else 0
