"""The same parts with the same content as Python's `email` package finds, where the two mean to agree."""

from __future__ import annotations

import email
import email.message
import email.policy
from pathlib import Path
from typing import Any

import mime_golden
import pytest

from pillarbox.mime.analysis import Part, analyse, load_parts
from pillarbox.mime.transfer import decode_transfer

NO_PARTS = "a multipart in which no part is found has one text child here, so that a client can show it"
DIFFERENCES = {
    "no-boundary-parameter": NO_PARTS,
    "boundary-never-occurs": NO_PARTS,
    "only-closing-boundary": NO_PARTS,
    "delimiter-in-header": NO_PARTS,
    "boundary-padding": "words after a boundary are allowed here (RFC 2046 5.1.1)",
    "boundary-twice": "with the same boundary inside, the innermost multipart has the delimiter",
    "empty-parts": "two delimiters with nothing between them are one there",
    "obsolete-syntax": "white space before the colon of a field ends the header there",
    "junk-in-header": "a line that is no field ends the header there",
    "parameters-odd": "a forgotten semicolon before the boundary",
    "base64-broken": "undecodable base64 is left undecoded there",
    "quoted-printable-broken": "a soft line break followed by spaces is none there",
    "unknown-encoding": "x-yenc is not known here",
    "bare-cr-and-nul": "a bare CR ends a line there",
    "external-body": "the phantom header of an external body is a message there",
    "delivery-status": "the groups of fields of a delivery status are messages there",
}


def theirs(message: email.message.Message) -> Any:
    kind = message.get_content_type()
    payload = message.get_payload()
    if isinstance(payload, list):
        return [kind, [theirs(part) for part in payload]]
    content = message.get_payload(decode=True)
    return [kind, content]


def ours(part: Part, data: bytes) -> Any:
    kind = f"{part.type}/{part.subtype}"
    if part.children:
        return [kind, [ours(child, data) for child in part.children]]
    return [kind, decode_transfer(data[part.body : part.end], part.encoding)]


@pytest.mark.parametrize("path", mime_golden.messages(), ids=lambda path: path.stem)
def test_parts_and_contents_are_those_of_the_email_package(path: Path) -> None:
    data = path.read_bytes()
    root = load_parts(analyse(data).parts)
    try:
        expected = theirs(email.message_from_bytes(data, policy=email.policy.compat32))
    except (LookupError, ValueError):
        expected = None
    agrees = ours(root, data) == expected
    assert agrees is (path.stem not in DIFFERENCES)
