"""The arguments of AUTH and BDAT, and the lines of a SASL exchange."""

import binascii
import re
from typing import NamedTuple

from pillarbox.smtp import replies
from pillarbox.smtp.events import Auth
from pillarbox.smtp.replies import Refusal

_CHUNK = re.compile(r"([0-9]+)(?: +((?i:LAST)))?")
_CHUNK_SIZE = re.compile(r"([0-9]+)(?: |$)")


class Chunk(NamedTuple):
    """The argument of a BDAT. `valid` is false when something else follows the size: the octets come all the same."""

    size: int
    last: bool
    valid: bool


def parse_bdat(argument: str) -> Chunk:
    """Raises Refusal when not even the size can be read."""
    chunk = _CHUNK.fullmatch(argument)
    if chunk is not None:
        return Chunk(int(chunk[1]), chunk[2] is not None, True)
    size = _CHUNK_SIZE.match(argument)
    if size is None:
        raise Refusal(replies.BDAT_SYNTAX)
    return Chunk(int(size[1]), False, False)


def parse_auth(argument: str, mechanisms: tuple[str, ...]) -> Auth:
    """RFC 4954 section 4. Raises Refusal."""
    mechanism, space, response = argument.partition(" ")
    if not mechanism or " " in response or (space and not response):
        raise Refusal(replies.AUTH_SYNTAX)
    mechanism = mechanism.upper()
    if mechanism not in mechanisms:
        raise Refusal(replies.AUTH_UNKNOWN)
    if not space:
        return Auth(mechanism)
    return Auth(mechanism, b"" if response == "=" else _decoded(response.encode()))  # "=" is an empty response


def parse_response(line: bytes) -> bytes:
    """The decoded answer to a 334. Raises Refusal, also for `*`, which cancels."""
    if line == b"*":
        raise Refusal(replies.AUTH_CANCELLED)
    return _decoded(line)


def _decoded(base64: bytes) -> bytes:
    try:
        return binascii.a2b_base64(base64, strict_mode=True)
    except binascii.Error:
        raise Refusal(replies.AUTH_NOT_BASE64) from None
