"""What a mailbox may be called (RFC 9051 section 5.1): names are Unicode here, '/' separates levels."""

from __future__ import annotations

import re
import unicodedata

from pillarbox.store.errors import Invalid

DELIMITER = "/"
INBOX = "INBOX"
OTHERS = "Other Users"  # below it are the mailboxes that others share (RFC 2342)
PREFIX = OTHERS + DELIMITER

MAX_LEVELS = 30
MAX_LEVEL_OCTETS = 255
MAX_OCTETS = 1000

# Control characters, line and paragraph separators, surrogates; and LIST's wildcards, which could not be asked for.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff%*]")


def normalised(name: str) -> str:
    """The name as it is stored: NFC, no delimiter at the end, INBOX in capitals at the first level.

    Raises Invalid for a name that no mailbox can have.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    name = name.removesuffix(DELIMITER)
    levels = name.split(DELIMITER)
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    if "" in levels:
        raise Invalid("a mailbox name has an empty level")
    if "." in levels or ".." in levels:  # programs that make folders of mailboxes refuse the whole account for one
        raise Invalid("a level of a mailbox name is . or ..")
    if found := _FORBIDDEN.search(name):
        raise Invalid(f"a mailbox name cannot contain {found[0]!r}")
    if len(levels) > MAX_LEVELS:
        raise Invalid("a mailbox name has too many levels")
    octets = len(name.encode())
    if octets > MAX_OCTETS:
        raise Invalid("a mailbox name is too long")
    if octets > MAX_LEVEL_OCTETS and any(len(level.encode()) > MAX_LEVEL_OCTETS for level in levels):
        raise Invalid("a level of a mailbox name is too long")
    return DELIMITER.join(levels)


def new_name(name: str) -> str:
    """As `normalised`, of a mailbox that is to be made: not where those of others are. Raises Invalid."""
    name = normalised(name)
    if name == OTHERS or name.startswith(PREFIX):
        raise Invalid(f"below {OTHERS} is what others share")
    return name


def parents(name: str) -> list[str]:
    """The names above this one, outermost first."""
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]
