"""TLS sessions that a client may take up again at any worker (RFC 5077, RFC 8446 section 2.2).

The server keeps no sessions: a client brings its own in a ticket, which only keys of ours can read. OpenSSL makes keys
for each context, so that a ticket of one worker means nothing to the next, and the whole handshake is done again. Here
all workers derive them from one secret, which the supervisor makes with each reading of the certificate and which is
nowhere but in memory. What a context was made of is in the derivation too: a session goes on only where the same
certificates of clients are believed, and the same versions spoken, as where it began.

Python's ssl cannot set these keys. OpenSSL's own function can, of the very library that Python has loaded; where it
cannot be reached, contexts keep keys of their own.
"""

from __future__ import annotations

import _ssl
import ctypes
import hmac
import os
import ssl
import sys
from collections.abc import Callable, Iterable
from hashlib import sha512

PER_HANDSHAKE = 1
"""Tickets that a client gets: it makes one connection with each, and gets a new one there. Two are OpenSSL's default,
and each costs a tenth of a handshake."""

_SET_KEYS = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS; without keys it tells how many octets they have
_KNOWN = (3, 14)  # up to here the pointer to OpenSSL's context is the first member of Python's


def new_secret() -> bytes:
    """What the keys of all workers come from."""
    return os.urandom(64)


def share(context: ssl.SSLContext, secret: bytes, made_of: Iterable[bytes]) -> bool:
    """Give a context the keys that every context has that was made with this secret of the same; whether that could
    be done. The order of `made_of` counts."""
    control = _control
    if control is None:
        return False
    openssl = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    length = control(openssl, _SET_KEYS, 0, None)
    return bool(length > 0 and control(openssl, _SET_KEYS, length, _derived(secret, made_of, length)) == 1)


def _derived(secret: bytes, made_of: Iterable[bytes], length: int) -> bytes:
    """HKDF-Expand (RFC 5869 section 2.3) with SHA-512."""
    context = sha512()
    for part in made_of:
        context.update(len(part).to_bytes(8, "big") + part)
    info = b"pillarbox session tickets" + context.digest()
    keys = block = b""
    number = 0
    while len(keys) < length:
        number += 1
        block = hmac.digest(secret, block + info + bytes([number]), "sha512")
        keys += block
    return keys[:length]


def _reach() -> Callable[..., int] | None:
    """OpenSSL's SSL_CTX_ctrl."""
    library = getattr(_ssl, "__file__", None)  # none where it is linked into the interpreter
    if library is None or sys.implementation.name != "cpython" or sys.version_info[:2] > _KNOWN:
        return None
    try:
        function = ctypes.CDLL(library).SSL_CTX_ctrl  # found among what the module itself is linked with
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    function.restype = ctypes.c_long
    return function


_control = _reach()
