"""The answers of a server, as a client reads them."""

import re
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

MAX_LINE = 4096  # octets; RFC 5321 section 4.5.3.1.5 has 512, some servers say more
MAX_LINES = 200

_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
# RFC 5321 section 4.2 has second digits up to 5, but what a client does not know it takes by the first digit (4.3.2):
# 471, 571 and 591 are said by many.
_LINE = re.compile(r"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


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
        raise AnswerError(f"not an SMTP reply: {_shown(text[:80])!r}")
    return f"{match[1]} {_shown(match[3] or '')}", match[2] == "-"


@lru_cache(maxsize=256)  # a server answers most commands with the same words each time
def lone_answer(line: bytes) -> Answer | None:
    """The answer that this line is all of; None when more lines follow. Raises AnswerError."""
    text, more = parse_line(line)
    return None if more else Answer.of([text])


def _shown(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


# What a code says when its server gives no enhanced one (RFC 3463; RFC 5248 registers the pairs). Of 550 and 554 nobody
# can tell why: saying less is better than a wrong "no such mailbox", by which lists drop their members.
_USUAL = {
    421: "4.3.2", 450: "4.2.0", 451: "4.3.0", 452: "4.3.1", 454: "4.7.0", 455: "4.5.4",
    500: "5.5.2", 501: "5.5.4", 502: "5.5.1", 503: "5.5.1", 504: "5.5.4", 521: "5.3.2", 523: "5.7.10", 530: "5.7.0",
    534: "5.7.9", 535: "5.7.8", 538: "5.7.11", 551: "5.1.6", 552: "5.2.2", 553: "5.1.3", 555: "5.5.4", 556: "5.1.10",
}  # fmt: skip
_USUAL_AT = {("RCPT", 550): "5.1.0", ("MAIL", 552): "5.3.4", ("DATA", 552): "5.3.4", ("END", 552): "5.3.4"}


def enhanced_of(answer: Answer, stage: str = "") -> str:
    """Its enhanced code; where the server gave none, what its code means as the answer to `stage`."""
    if answer.enhanced:
        return answer.enhanced
    code = answer.code
    return _USUAL_AT.get((stage, code)) or _USUAL.get(code) or f"{code // 100}.0.0"
