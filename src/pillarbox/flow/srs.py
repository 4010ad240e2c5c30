"""Senders of other domains, rewritten so that they pass where we forward: the Sender Rewriting Scheme.

    SRS0=HASH=DAY=example.org=ada@our.example       ada@example.org, forwarded by us
    SRS1=HASH=first.example==...@our.example        an SRS0 address of first.example, forwarded by us

A bounce to such an address comes to us and goes back to who sent the message. Only an address that we made is
followed, and for 21 days: the hash is of a key that never leaves the store, and without it nobody can have us send
anything anywhere. The form is that of the published scheme (Mail::SRS), whose receivers may change the case of letters:
hash and day are in base32 and are compared without regard to it. An SRS1 address has no day, its owner has.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from pillarbox.smtp.address import MAX_PATH, AddressError, Path, domain_key, parse_path, quoted_local
from pillarbox.store import secrets
from pillarbox.store.store import Store

VALID_DAYS = 21
KEY = "srs_key"  # its name in the store
_HASH = 6  # characters of base32: 30 bits, guessed over SMTP in centuries
_DAY = 86400  # seconds
_CYCLE = 1024  # days that two characters of base32 can tell apart
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_FORM = re.compile(r"(?is)SRS([01])[=+-](.*)")
_SRS0 = re.compile(r"(?s)([^=]+)=([A-Za-z2-7]{2})=([^=]+)=(.+)")
_SRS1 = re.compile(r"(?s)([^=]+)=([^=]+)=([=+-].+)")


class BadReturn(Exception):
    """Not an address that we made, or one that is too old. The text says which, for the log."""


async def open_rewriter(store: Store) -> Rewriter:
    """The rewriter of this store, its key made when it is used for the first time. Raises StoreError."""
    key = await store.read(secrets.secret, KEY)
    return Rewriter(key if key is not None else await store.write(secrets.make_secret, KEY))


def is_rewritten(local: str) -> bool:
    """Whether a local part looks like one of the scheme, whoever made it."""
    return _FORM.fullmatch(local) is not None


class Rewriter:
    """Rewrites and reverses with one key. Plain functions of their arguments: no clock, no store."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def rewrite(self, sender: str, our_domain: str, now: float) -> str:
        """`sender` as an address of `our_domain`; unchanged where that cannot be: the null sender, an address of
        ours, one without a domain that is a name, one too long for SMTP."""
        try:
            path = parse_path(sender, max_local=MAX_PATH)
        except AddressError:
            return sender
        if path.is_literal or path.domain_key == domain_key(our_domain):
            return sender
        rewritten = f"{quoted_local(self._local(path, now))}@{our_domain}"
        return rewritten if len(rewritten.encode()) + 2 <= MAX_PATH else sender

    def reverse(self, local: str, now: float) -> str:
        """The address that `local`, a local part at a domain of ours, stands for. Raises BadReturn."""
        form = _FORM.fullmatch(local)
        if form is None:
            raise BadReturn("not a rewritten address")
        kind, rest = form.groups()
        original = self._reverse_first(rest, now) if kind == "0" else self._reverse_second(rest)
        try:
            return parse_path(original, max_local=MAX_PATH).address
        except AddressError as error:
            raise BadReturn(str(error)) from None

    def _local(self, path: Path, now: float) -> str:
        form = _FORM.fullmatch(path.local)
        if form is None:
            day = _day(now)
            return f"SRS0={self._hash(day, path.domain, path.local)}={day}={path.domain}={path.local}"
        if form[1] == "1" and (again := _SRS1.fullmatch(form[2])) is not None:
            _, first, rest = again.groups()  # who forwarded first is told, not who did so last
        else:
            first, rest = path.domain, path.local[4:]
        return f"SRS1={self._hash(first, rest)}={first}={rest}"

    def _reverse_first(self, text: str, now: float) -> str:
        form = _SRS0.fullmatch(text)
        if form is None:
            raise BadReturn("not of the form SRS0=hash=day=domain=local")
        mark, day, domain, local = form.groups()
        self._verify(mark, day, domain, local)
        age = (_number(_day(now)) - _number(day)) % _CYCLE
        if age > VALID_DAYS and age != _CYCLE - 1:  # a clock that made it may be a little ahead
            raise BadReturn(f"more than {VALID_DAYS} days old")
        return f"{quoted_local(local)}@{domain}"

    def _reverse_second(self, text: str) -> str:
        form = _SRS1.fullmatch(text)
        if form is None:
            raise BadReturn("not of the form SRS1=hash=domain==rest")
        mark, first, rest = form.groups()
        self._verify(mark, first, rest)
        return f"{quoted_local(f'SRS0{rest}')}@{first}"

    def _verify(self, mark: str, *parts: str) -> None:
        if not hmac.compare_digest(self._hash(*parts).encode(), mark.upper().encode()):
            raise BadReturn("made by somebody else")

    def _hash(self, *parts: str) -> str:
        text = "\0".join(parts).lower()
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.b32encode(digest).decode()[:_HASH]


def _day(now: float) -> str:
    number = int(now // _DAY) % _CYCLE
    return _BASE32[number >> 5] + _BASE32[number & 31]


def _number(day: str) -> int:
    high, low = map(_BASE32.index, day.upper())
    return high << 5 | low
