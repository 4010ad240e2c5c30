"""Whether an address list is written as RFC 5322 section 3.4 says, so that every reader finds the same addresses in it.

Of the obsolete syntax of section 4.4 these are taken: dots in a display name, white space and comments around the dots
and the at-sign of an address, routes, empty elements of a list. Octets beyond ASCII are letters (RFC 6532). Control
characters are not taken anywhere. `ada@example.com <ada@example.com>` is taken too: it leaves no doubt.

`address.parse_addresses` reads whatever there is; for a field that passes here it finds exactly what the grammar has.
"""

from __future__ import annotations

import re

# What nearly every field looks like: `ada@example.com`, `Ada L. <ada@example.com>`, `"Ada" <ada@example.com>`.
_ATEXT = rb"[!#$%&'*+/=?^_`{|}~A-Za-z0-9-]"
_DOT_ATOM = _ATEXT + rb"+(?:\." + _ATEXT + rb"+)*"
_SPEC = _DOT_ATOM + rb"@" + _DOT_ATOM
_NAME = rb"(?:\"[ !#-\[\]-~]*+\"|" + _ATEXT + rb"[ .!#$%&'*+/=?^_`{|}~A-Za-z0-9-]*+)"
_COMMON = re.compile(rb"[ \t]*+(?:" + _NAME + rb"?<" + _SPEC + rb">|" + _SPEC + rb")[ \t]*+(?:\r\n)?\Z")
# The address as its own name, without the quotes that it needs: not in the grammar, and what many scripts write.
_TWICE = re.compile(rb"[ \t]*+(" + _SPEC + rb")[ \t]*+<\1>[ \t]*+(?:\r\n)?\Z", re.IGNORECASE)

# Tokens, and the letter that each is in `_LIST`: "a" an atom, "q" a quoted string, "l" a domain literal.
_TOKEN = re.compile(
    rb"((?:\r\n)?[ \t]++|\r\n\Z)"
    rb"|(" + _ATEXT[:-1] + rb"\x80-\xff]++)"
    rb'|("(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\r\n(?=[ \t])|\\[^\x00-\x08\x0a-\x1f\x7f])*")'
    rb"|(\[(?:[!-Z^-~\x80-\xff]|(?:\r\n)?[ \t])*\])"
    rb"|([<>,:;@.])"
)
_COMMENT = re.compile(rb"(?:[^()\\\x00-\x08\x0a-\x1f\x7f]|\r\n(?=[ \t])|\\[^\x00-\x08\x0a-\x1f\x7f])*([()])")

_DOMAIN = r"(?:a(?:\.a)*|l)"
_ADDRESS = rf"[aq](?:\.[aq])*@{_DOMAIN}"
_PHRASE = r"[aq][aq.]*"
_MAILBOX = rf"(?:(?:{_PHRASE})?<(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?{_ADDRESS}>|{_ADDRESS})"
_MAILBOXES = rf"(?:{_MAILBOX})?(?:,(?:{_MAILBOX})?)*"
_ENTRY = rf"(?:{_MAILBOX}|{_PHRASE}:{_MAILBOXES};)"
_LIST = re.compile(rf"(?:{_ENTRY})?(?:,(?:{_ENTRY})?)*")


def is_address_list(value: bytes) -> bool:
    """Whether a raw field value, with its folds, is an address list (groups too, RFC 6854); it may be empty. Linear."""
    if _COMMON.match(value) is not None or _TWICE.match(value) is not None:
        return True
    letters = _letters(value)
    return letters is not None and _LIST.fullmatch(letters) is not None


def _letters(value: bytes) -> str | None:
    """The tokens without white space and comments; None where something is no token."""
    found: list[str] = []
    at = 0
    while at < len(value):
        if value[at] == ord("("):
            end = _comment_end(value, at)
            if end is None:
                return None
            at = end
            continue
        match = _TOKEN.match(value, at)
        if match is None:
            return None
        kind = match.lastindex
        if kind == 5:
            found.append(match[5].decode())
        elif kind == 2:
            found.append("a")
        elif kind in (3, 4):
            found.append("q" if kind == 3 else "l")
        at = match.end()
    return "".join(found)


def _comment_end(value: bytes, at: int) -> int | None:
    """Where the comment ends whose "(" is at `at`; they nest (RFC 5322 section 3.2.2)."""
    depth, at = 1, at + 1
    while depth:
        match = _COMMENT.match(value, at)
        if match is None:
            return None
        depth += 1 if match[1] == b"(" else -1
        at = match.end()
    return at
