"""Message flags: the system flags as bits, keywords as text, and the `flag` grammar of RFC 9051 section 9.

The bits are those of the store's `flags` column, so a session hands them on as they are. `\\Recent` has no bit: it
belongs to a session, not to a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SEEN = 1
ANSWERED = 2
FLAGGED = 4
DELETED = 8
DRAFT = 16

BITS: dict[str, int] = {  # RFC 9051 section 2.3.2, by lower-case name
    "\\seen": SEEN,
    "\\answered": ANSWERED,
    "\\flagged": FLAGGED,
    "\\deleted": DELETED,
    "\\draft": DRAFT,
}

MAX_KEYWORD = 255  # octets of one keyword
MAX_KEYWORDS = 100  # keywords of one command

NAMES = (b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Seen", b"\\Draft")  # as a FLAGS response lists them
_NAME_BITS = ((ANSWERED, NAMES[0]), (FLAGGED, NAMES[1]), (DELETED, NAMES[2]), (SEEN, NAMES[3]), (DRAFT, NAMES[4]))

# Keywords of the IANA registry have one spelling, whatever a client types (keywords compare without case).
_REGISTERED = {
    word.lower(): word
    for word in (
        "$Forwarded",
        "$MDNSent",
        "$Junk",
        "$NotJunk",
        "$Phishing",
        "$Important",
        "$SubmitPending",
        "$Submitted",
        "$HasAttachment",
        "$HasNoAttachment",
    )
}

_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~\[]+\Z")  # atom without "]", RFC 9051 section 9


def canonical_keyword(word: str) -> str | None:
    """The keyword as it is kept, or None when it is no `flag-keyword` (an atom) or too long."""
    if len(word) > MAX_KEYWORD or not _KEYWORD.match(word):
        return None
    return _REGISTERED.get(word.lower(), word)


def _combination(bits: int) -> bytes:
    return b" ".join(name for bit, name in _NAME_BITS if bits & bit)


SYSTEM: tuple[bytes, ...] = tuple(_combination(bits) for bits in range(32))  # rendered names of every combination


def render(bits: int, keywords: Iterable[str] = (), *, recent: bool = False) -> bytes:
    """`(\\Seen $Junk)`: a flag list in parentheses."""
    words = [SYSTEM[bits & 31]] if bits & 31 else []
    if recent:
        words.append(b"\\Recent")  # RFC 3501 section 2.3.2; never sent once IMAP4rev2 is enabled
    words.extend(keyword.encode("ascii", "replace") for keyword in keywords)
    return b"(%b)" % b" ".join(words)
