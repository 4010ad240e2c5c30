"""Who may change something over HTTP: programs of this machine, and no page in somebody's browser.

There is no password on loopback, so a web page that the operator looks at must not be able to write here. A change
needs the header X-CSRF-Token with a token of ours: a page of another origin can neither read one nor send the header
(it is not on the list of those that need no permission, and we give none). A name that was made to point at us is
recognised by the Host header.

Tokens are good for an hour and once in the worker that sees them. Any worker knows them: their key is the store's.
"""

from __future__ import annotations

import base64
import hmac
import os
import struct
import time
from collections.abc import Callable

from pillarbox.access.limits import is_loopback
from pillarbox.store import Store
from pillarbox.store.secrets import make_secret

from .answers import Answer, Forbidden, Handler, Request, as_json

LIFE = 3600  # seconds
MOST_USED = 10_000  # tokens that are remembered as used
_REFUSED = "Invalid or missing CSRF token"
_PURPOSE = "csrf_key"


class Guard:
    """Gives tokens and takes them."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._key = b""
        self._used: dict[str, None] = {}

    def routes(self) -> dict[str, Handler]:
        async def token(request: Request) -> Answer:
            check_local(request)
            return as_json({"token": self._made(await self._secret(), int(self._clock()) + LIFE, os.urandom(8))})

        return {"/api/csrf-token": token}

    async def check(self, request: Request) -> None:
        """Raises Forbidden."""
        check_local(request)
        given = request.headers.get("x-csrf-token", "")
        if given in self._used or not self._good(given, await self._secret()):
            raise Forbidden(_REFUSED)
        if len(self._used) >= MOST_USED:
            del self._used[next(iter(self._used))]
        self._used[given] = None

    async def _secret(self) -> bytes:
        if not self._key:
            self._key = await self._store.write(make_secret, _PURPOSE)
        return self._key

    def _good(self, token: str, key: bytes) -> bool:
        try:
            raw = base64.urlsafe_b64decode(token + "=")
            (until,) = struct.unpack_from(">Q", raw)
        except (ValueError, struct.error):
            return False
        return hmac.compare_digest(self._made(key, until, raw[8:16]), token) and self._clock() < until

    @staticmethod
    def _made(key: bytes, until: int, nonce: bytes) -> str:
        signed = struct.pack(">Q", until) + nonce
        return base64.urlsafe_b64encode(signed + hmac.digest(key, signed, "sha256")[:16]).decode().rstrip("=")


def check_local(request: Request) -> None:
    """The client is of this machine and knows us by a name of it. Raises Forbidden."""
    if not is_loopback(request.client):
        raise Forbidden("Only from this machine")
    host = request.headers.get("host", "")
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name.lower() != "localhost" and not is_loopback(name):
        raise Forbidden("Host must be localhost or a loopback address")
