"""Names of mailboxes on the wire: modified UTF-7 (RFC 3501 section 5.1.3), or UTF-8 once IMAP4rev2 is enabled.

Inside Pillarbox a name is text with `/` between levels; INBOX has one spelling.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

DELIMITER = "/"

_SHIFTED = re.compile(r"[^\x20-\x7e]+|&")
_SHIFT = re.compile(rb"&([A-Za-z0-9+,]*)-")
_ENCODED = re.compile(rb"(?:[\x20-\x25\x27-\x7e]|&[A-Za-z0-9+,]*-)*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # not in a name: RFC 9051 section 5.1, RFC 5198


class BadName(ValueError):
    """The bytes are no mailbox name; the text says why."""


def _shift(match: re.Match[str]) -> str:
    run = match[0]
    if run == "&":
        return "&-"
    packed = base64.b64encode(run.encode("utf-16-be", "surrogatepass"), b"+,")
    return f"&{packed.rstrip(b'=').decode('ascii')}-"


@lru_cache(maxsize=4096)
def encode(name: str, utf8: bool = False) -> bytes:
    """The name as it goes to the client (no quoting): modified UTF-7, or UTF-8."""
    if utf8:
        return name.encode("utf-8", "replace")
    return _SHIFTED.sub(_shift, name).encode("ascii")


def _unshift(match: re.Match[bytes]) -> bytes:
    packed = match[1]
    if not packed:
        return b"&"
    # Through the codec that refuses lone surrogates and odd lengths.
    return base64.b64decode(packed + b"=" * (-len(packed) % 4), b"+,").decode("utf-16-be").encode()


def decode(raw: bytes, utf8: bool = False) -> str:
    """The name a client sent; raises `BadName`. Modified UTF-7 must be in its one canonical form."""
    if utf8:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadName("the mailbox name is not UTF-8") from None
    elif b"&" not in raw and raw.isascii():
        name = raw.decode("ascii")
    else:
        name = _decode_utf7(raw)
    if _CONTROL.search(name):
        raise BadName("a mailbox name holds no control characters")
    if name[:5].upper() == "INBOX" and (len(name) == 5 or name[5] == DELIMITER):  # RFC 9051 section 5.1
        name = "INBOX" + name[5:]
    return name


def _decode_utf7(raw: bytes) -> str:
    name = None
    if _ENCODED.match(raw):
        try:
            name = _SHIFT.sub(_unshift, raw).decode()
        except (binascii.Error, UnicodeDecodeError):
            name = None
    # Two encodings of one name would be two names to a client (RFC 3501 section 5.1.3: no superfluous shifts).
    if name is None or encode(name) != raw:
        raise BadName("the mailbox name is not in modified UTF-7 (write & as &-)")
    return name
