"""The base subject, by which messages are sorted and threaded (RFC 5256 section 2.1)."""

from __future__ import annotations

import re

MAX_SUBJECT = 1000  # characters looked at; what differs later does not make another thread

_BLOB = r"\[[^\[\]]*\][ ]*"
_LEADER = re.compile(rf"[ ]+|(?:{_BLOB})*(?:re|fwd?)[ ]*(?:{_BLOB})?:", re.IGNORECASE)
_PREFIX_BLOB = re.compile(_BLOB)


def base_subject(subject: str) -> str:
    """The subject (already decoded) without reply and forward marks and list tags; case is kept."""
    text = " ".join(subject[:MAX_SUBJECT].split())
    while True:
        text = _without_trailer(text)
        start = _after_leaders(text)
        text = text[start:]
        if text[:5].lower() == "[fwd:" and text.endswith("]"):  # step 6
            text = text[5:-1]
            continue
        return text


def _without_trailer(text: str) -> str:
    text = text.rstrip(" ")
    while text[-5:].lower() == "(fwd)":  # step 2
        text = text[:-5].rstrip(" ")
    return text


def _after_leaders(text: str) -> int:
    start = 0
    while (match := _LEADER.match(text, start) or _PREFIX_BLOB.match(text, start)) is not None:  # steps 3 to 5
        if match.end() == len(text) and match.re is _PREFIX_BLOB:
            break  # a tag that is all there is stays
        start = match.end()
    return start
