"""Password hashes, SCRAM keys, and the gate that keeps hashing from taking the machine.

A password is stored as argon2id (RFC 9106) in its PHC string form, `$argon2id$v=19$m=65536,t=3,p=4$salt$hash`, and as
SCRAM-SHA-256 keys (RFC 7677), `SCRAM-SHA-256$4096:salt$stored:server` in base64, which cannot be derived later from
the hash. One argon2 costs 64 MiB and some 100 ms, so guesses are let through a `HashGate`: at most two at once on the
whole machine, the others wait for a bounded time.
"""

from __future__ import annotations

import asyncio
import fcntl
import hmac
import os
import stringprep
import time
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from hashlib import pbkdf2_hmac, sha256
from threading import Lock
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from nacl.bindings import crypto_pwhash_str_verify, crypto_pwhash_STRBYTES
from nacl.exceptions import InvalidkeyError

from pillarbox.cores import Pool

T = TypeVar("T")

_HASHER = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4, hash_len=32, salt_len=16, type=Type.ID)
SCRAM_ITERATIONS = 4096  # RFC 7677 section 4
AT_ONCE = 2  # hashes on the whole machine
MAX_PASSWORD = 1024  # characters; longer ones match nothing and are not hashed

# What a guess at an unknown user is checked against, so that it costs the same as one at a known user. It was made
# from 32 random octets that were thrown away.
PLACEHOLDER = "$argon2id$v=19$m=65536,t=3,p=4$EA3jmlPkzCSGp/22T14VIw$tNsigLbvfYVAHJ6xdy5pdZgQTMGkw06TOoCwlpsXdQw"


class TemporarilyUnavailable(Exception):
    """Too many hashes are waiting; the client should try again later (454)."""


def hash_password(password: str) -> tuple[str, str]:
    """The argon2id string and the SCRAM-SHA-256 string to store for a password. Takes some 100 ms."""
    return _HASHER.hash(_normal(password)), scram_keys(password)


def verify(password_hash: str, password: str) -> bool:
    """Whether the password is the one that was hashed, with whatever argon2 parameters. Takes some 100 ms.

    A hash that is no argon2 string matches nothing.
    """
    if len(password) > MAX_PASSWORD:
        password = ""
    try:
        return _fits(password_hash, _normal(password)) and password != ""
    except (InvalidkeyError, VerificationError, InvalidHashError):
        return False


def _fits(password_hash: str, password: bytes) -> bool:
    # libsodium has this for the vector units of the processor and takes little more than half of the time, but knows
    # one version and short strings only.
    if password_hash.startswith("$argon2id$v=19$") and len(password_hash) < crypto_pwhash_STRBYTES:
        return crypto_pwhash_str_verify(password_hash.encode("ascii", "replace"), password)
    return _HASHER.verify(password_hash, password)


def needs_rehash(password_hash: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    try:
        return _HASHER.check_needs_rehash(password_hash)
    except InvalidHashError:
        return True


def scram_keys(password: str, *, salt: bytes | None = None, iterations: int = SCRAM_ITERATIONS) -> str:
    """StoredKey and ServerKey of RFC 5802 section 3, with the salt, as one string."""
    salt = os.urandom(16) if salt is None else salt
    salted = pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
    stored = sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (b64encode(value).decode() for value in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def saslprep(text: str) -> str:
    """RFC 4013 for a stored string; a text that it prohibits is taken as it stands.

    Refusing it would only lock out somebody who chose an odd password.
    """
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c)
    )  # section 2.1
    return unicodedata.normalize("NFKC", mapped)  # section 2.2


def _normal(password: str) -> bytes:
    # The same password typed on systems that compose accents differently has the same octets (RFC 8265 section 4.2.2).
    text = password if password.isascii() else unicodedata.normalize("NFC", password)
    return text.encode("utf-8", "surrogatepass")


class HashGate:
    """At most two hashes at once on the machine, over all workers that inherited the same file.

    Make it before the fork: the places are POSIX record locks on the octets of one anonymous file, which the kernel
    frees when a process dies. Never close the file in a process that goes on (that drops its locks). Threads start
    on first use, so making a gate starts none.
    """

    def __init__(self, file: int = -1, *, patience: float = 5.0, queue: int = 32, queue_each: int = 4) -> None:
        """`patience`: seconds a hash may wait; `queue`: how many may wait in a worker, `queue_each`: of one peer.

        `file` is the `descriptor` of a gate that another program made, whose workers then hash by turns with ours.
        """
        self.descriptor = file if file >= 0 else os.memfd_create("pillarbox-hash-gate", os.MFD_CLOEXEC)
        self._patience = patience
        self._queue = queue
        self._queue_each = queue_each
        self._waiting: dict[str, int] = {}
        self._total = 0
        self._own = tuple(Lock() for _ in range(AT_ONCE))
        self._threads: Pool | None = None

    async def run(self, work: Callable[[], T], peer: str = "") -> T:
        """Do `work` (a hash) in a thread as soon as a place is free.

        Raises TemporarilyUnavailable when too many wait, also when all of them are of this peer, or after `patience`.
        """
        if self._total >= self._queue or self._waiting.get(peer, 0) >= self._queue_each:
            raise TemporarilyUnavailable("too many passwords are being checked")
        if self._threads is None:
            self._threads = Pool(AT_ONCE, "password")
        self._total += 1
        self._waiting[peer] = self._waiting.get(peer, 0) + 1
        try:
            deadline = time.monotonic() + self._patience
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._in_turn, work, deadline)
        finally:
            self._total -= 1
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer]

    def _in_turn(self, work: Callable[[], T], deadline: float) -> T:
        while (place := self._take_place()) < 0:
            if time.monotonic() >= deadline:
                raise TemporarilyUnavailable("the machine is busy with other passwords")
            time.sleep(0.01)  # in a thread that does nothing else; record locks cannot be waited for two at a time
        try:
            return work()
        finally:
            self._leave(place)

    def _take_place(self) -> int:
        """The number of a free place, now ours; -1 when all are taken."""
        for place in range(AT_ONCE):
            # A record lock belongs to the process, so our own two threads exclude each other here.
            if not self._own[place].acquire(blocking=False):
                continue
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:  # another process has it
                self._own[place].release()
                continue
            return place
        return -1

    def _leave(self, place: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, place)
        self._own[place].release()
