"""The base subject, by which messages are sorted and threaded (RFC 5256 section 2.1)."""

from __future__ import annotations

import re

MAX_SUBJECT = 1000  # characters looked at; what differs later does not make another thread

_BLOB = r"\[[^\[\]]*\][ ]*"
_LEADER = re.compile(rf"[ ]+|(?:{_BLOB})*(?:re|fwd?)[ ]*(?:{_BLOB})?:", re.IGNORECASE)
_PREFIX_BLOB = re.compile(_BLOB)
_REFWD = re.compile(r"(?:re|fwd?)[ ]*(?:\[[^\[\]]*\][ ]*)?:\Z", re.IGNORECASE)


def base_subject(subject: str) -> str:
    """The subject (already decoded) without reply and forward marks and list tags; case is kept."""
    return _extracted(subject)[0]


def is_reply(subject: str) -> bool:
    """Does the subject say by its marks that the message answers or forwards another."""
    return _extracted(subject)[1]


def _extracted(subject: str) -> tuple[str, bool]:
    text = " ".join(subject[:MAX_SUBJECT].split())
    reply = False
    while True:
        shorter = _without_trailer(text)
        reply = reply or shorter != text.rstrip(" ")
        leaders = _leaders(shorter)
        reply = reply or any(_REFWD.search(leader) for leader in leaders)
        text = shorter[sum(map(len, leaders)) :]
        if text[:5].lower() == "[fwd:" and text.endswith("]"):  # step 6
            text, reply = text[5:-1], True
            continue
        return text, reply


def _without_trailer(text: str) -> str:
    text = text.rstrip(" ")
    while text[-5:].lower() == "(fwd)":  # step 2
        text = text[:-5].rstrip(" ")
    return text


def _leaders(text: str) -> list[str]:
    found, start = [], 0
    while (match := _LEADER.match(text, start) or _PREFIX_BLOB.match(text, start)) is not None:  # steps 3 to 5
        if match.end() == len(text) and match.re is _PREFIX_BLOB:
            break  # a tag that is all there is stays
        found.append(match[0])
        start = match.end()
    return found
