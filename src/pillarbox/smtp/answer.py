"""The answers of a server, as a client reads them."""

import re
from collections.abc import Sequence

from msgspec import Struct

MAX_LINE = 4096  # octets; RFC 5321 section 4.5.3.1.5 has 512, some servers say more
MAX_LINES = 200

_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_LINE = re.compile(r"([2-5][0-5][0-9])(?:([ -])(.*))?", re.DOTALL)


class AnswerError(ValueError):
    """What the server said is no reply."""


class Answer(Struct, frozen=True):
    """A complete reply. `lines` are its texts without codes, `enhanced` is "" when the server gave none."""

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, lines: Sequence[str]) -> "Answer":
        """From lines that `parse_line` has checked, all with the same code."""
        texts = [line[4:] for line in lines]
        enhanced = _ENHANCED.match(texts[0])
        code = int(lines[0][:3])
        if enhanced is None or enhanced[1][0] != lines[0][0]:
            return cls(code, "", tuple(texts))
        status = enhanced[1]
        return cls(code, status, tuple(text.removeprefix(status).removeprefix(" ") for text in texts))

    @property
    def ok(self) -> bool:
        return self.code // 100 == 2

    @property
    def temporary(self) -> bool:
        return self.code // 100 == 4

    @property
    def text(self) -> str:
        return " ".join(self.lines)


def parse_line(line: bytes) -> tuple[str, bool]:
    """One line of a reply as text, control characters and what is not UTF-8 replaced, and whether more lines follow.
    Raises AnswerError."""
    text = line.decode("utf-8", "replace")
    match = _LINE.fullmatch(text)
    if match is None:
        raise AnswerError("not an SMTP reply")
    rest = "".join(char if char.isprintable() else "?" for char in match[3] or "")
    return f"{match[1]} {rest}", match[2] == "-"
